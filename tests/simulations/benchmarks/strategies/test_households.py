"""What the households of a cell keep, whoever of them attacks."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from common.model_messages import ModelReply, ModelRequest
from fl_client.participant import Participant
from fl_client.personal_store import PersonalStore
from simulations.benchmarks.strategies.cell import run_cell
from simulations.benchmarks.strategies.collusion import COLLUDING
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.setup import Cell, Setup, entry_of

SETUP = Setup("synthetic", households=4, rounds=2, local_steps=1, batch_size=4, train_days=10,
              test_days=2)  # fmt: skip


@pytest.mark.parametrize("kind", [*COLLUDING, "collude", "sign-flip"])
@pytest.mark.parametrize("strategy", ["fedper", "ditto", "scaffold"])
def test_a_household_writes_its_own_files_alone_once_a_round(
    strategy: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four attack, some do not answer: every file of a round is written once, while that
    very home trains, whatever it knows of the others."""
    written: Counter[tuple[str, str, int]] = Counter()
    training: list[str] = []
    train, save = Participant.train, PersonalStore.save

    def watched(self: Participant, request: ModelRequest, windows: Any) -> ModelReply:
        training.append(self.name)
        return train(self, request, windows)

    def saved(
        self: PersonalStore, what: str, round_: int, arrays: Mapping[str, np.ndarray]
    ) -> None:
        owner = self._directory.name
        assert owner == training[-1]
        written[owner, what, round_] += 1
        save(self, what, round_, arrays)

    monkeypatch.setattr(Participant, "train", watched)
    monkeypatch.setattr(PersonalStore, "save", saved)
    dial = Dial(attack=kind, attackers=0.5, dropouts=0.2)
    rows, _ = run_cell(Cell(entry_of(strategy), "bad", dial, 1), SETUP)
    bad = {row["household"] for row in rows if row["malicious"]}
    assert len(bad) == 2
    assert len({owner for owner, _, _ in written}) >= 3, "nobody trained"
    assert set(written.values()) == {1}
