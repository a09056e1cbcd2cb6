"""What the households of a cell keep, whoever of them attacks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import InputError
from common.model_messages import ModelReply, ModelRequest
from fl_client.participant import Participant
from fl_client.personal_store import PersonalStore
from simulations.benchmarks.strategies.cell import run_cell
from simulations.benchmarks.strategies.collusion import COLLUDING
from simulations.benchmarks.strategies.dials import Dial, read_dials
from simulations.benchmarks.strategies.setup import Cell, Setup, entry_of

SETUP = Setup("synthetic", households=4, rounds=2, local_steps=1, batch_size=4, train_days=10,
              test_days=2)  # fmt: skip

BROKEN = "tests.simulations.benchmarks.strategies.broken"


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


@pytest.mark.parametrize(
    ("dial", "what"),
    [
        ({"attack": f"{BROKEN}:raises", "attackers": 0.5}, "ZeroDivisionError: no attack"),
        ({"attack": f"{BROKEN}:nothing", "attackers": 0.5}, "attack = .* returned"),
        ({"change": f"{BROKEN}:change"}, "KeyError"),
    ],
)
@pytest.mark.parametrize("strategy", ["fedavg", "fedasync"])
def test_code_that_raises_in_a_household_ends_its_cell(
    strategy: str, dial: dict[str, object], what: str
) -> None:
    """In one line that names the cell, the error and where it was raised: an attack that cannot
    run has not been withstood."""
    cell = Cell(entry_of(strategy), "bad", Dial.model_validate(dial), 0)
    with pytest.raises(InputError, match=what) as told:
        run_cell(cell, SETUP)
    assert str(told.value).startswith(f"cell {cell.key}: ")
    assert "\n" not in str(told.value)


def test_a_training_that_raises_ends_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's own code among it."""

    def train(self: Participant, request: ModelRequest, windows: Any) -> ModelReply:
        raise OverflowError("too much")

    monkeypatch.setattr(Participant, "train", train)
    with pytest.raises(InputError, match="OverflowError: too much"):
        run_cell(Cell(entry_of("fedavg"), "clean", Dial(), 0), SETUP)


@pytest.mark.parametrize("compression", ["none", "int8"])
def test_a_training_that_diverges_or_drops_out_is_no_mistake(compression: str) -> None:
    """Of NaN nothing can be compressed and nothing is used, and some do not answer: every update is
    counted as dropped, the cell ends, and has no error."""
    setup = replace(SETUP, optimiser="sgd")
    dial = Dial(compression=compression, dropouts=0.3)
    rows, cost = run_cell(Cell(entry_of("fedprox(learning_rate=1e30)"), "d", dial, 0), setup)
    last = [row for row in rows if row["round"] == setup.rounds]
    assert {row["dropped"] for row in last} == {2 * SETUP.households}
    assert {row["failed_rounds"] for row in last} == {setup.rounds}
    assert np.isnan([row["nrmse"] for row in last]).all()
    assert cost["failure"] == ""


@pytest.mark.parametrize("key", ["attack", "change"])
@pytest.mark.parametrize("path", ["nowhere:f", f"{BROKEN}:missing", f"{BROKEN}:NUMBER"])
def test_a_dial_names_code_that_is_there(key: str, path: str) -> None:
    """A mistake in a name, or what is no function, is told when dials are read."""
    with pytest.raises(InputError, match=f"mine: {key} = "):
        read_dials({"mine": {key: path, "attackers": 0.5}})


@pytest.mark.parametrize(
    ("name", "failed", "result", "why"),
    [("Boom", 2, False, "RuntimeError: boom"), ("Never", 2, False, ""), ("Lazy", 1, True, "")],
)
def test_rounds_without_a_model_are_counted(name: str, failed: int, result: bool, why: str) -> None:
    """Where no round made one, the first weights are not passed off as what was learnt."""
    rows, cost = run_cell(Cell(entry_of(f"{BROKEN}:{name}"), "clean", Dial(), 0), SETUP)
    last = [row for row in rows if row["round"] == SETUP.rounds]
    assert {row["failed_rounds"] for row in last} == {failed}
    assert np.isfinite([row["nrmse"] for row in last]).all() == result
    assert np.isfinite([row["nrmse"] for row in rows if row["round"] == 0]).all()
    assert cost["failure"] == why
