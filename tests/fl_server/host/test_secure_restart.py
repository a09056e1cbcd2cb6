"""Coordinators that are killed in a secure sum: what is learnt after it, and what nobody learns."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from safetensors.numpy import load_file

import fl_client.secure
import fl_server.rounds
from common.data.synthetic import names
from common.messages import ARRAYS, decode_arrays
from common.secure import shares
from common.secure.grid import Words, mean
from common.secure.messages import METRICS, SECURE, record_of, threshold_of
from fl_server.host.folder import Folder
from fl_server.secure import SecureRound, SecureSum
from tests.support.community import NODE, Homes, Killed, community, contexts, run
from tests.support.runs import HISTORY_DAYS, write_homes

PHASES = ("keys", "shares", "masked", "agree", "unmask")
HOMES = 5
NAMES = names(HOMES)
# A round every two half hours: one for each phase, and one that nobody disturbs.
SETTINGS = (
    "run.days=0.25", f"run.history_days={HISTORY_DAYS}", "model.preset=edge", "fl.local_steps=1",
    "fl.every_hours=1", "trader.kind=hold", "fl.secure_aggregation=true",
)  # fmt: skip
Kind = tuple[int, int, int]
"""(round, household whose share it is, household that tells it), households by node."""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five synthetic homes: four are left where one is away, which are enough."""
    folder = tmp_path_factory.mktemp("street")
    write_homes(folder, NAMES)
    return folder


@dataclass
class Watch:
    """What passed, from a place that nobody has in a real community: inside every household."""

    now: tuple[int, bytes, int] = (0, b"", 0)  # round, session and node that is asked
    plain: dict[tuple[int, bytes, int], Words] = field(default_factory=dict)
    dealt: dict[bytes, tuple[str, Kind]] = field(default_factory=dict)
    told: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    sums: dict[int, tuple[bytes, SecureSum]] = field(default_factory=dict)
    models: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)


def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Note updates before they are masked, shares as they are dealt, and the sums."""
    seen, words, split = Watch(), fl_client.secure.words, shares.split
    dealers: list[tuple[int, bytes, int]] = []

    def noted(*given: object) -> Words:
        seen.plain[seen.now] = words(*given)  # type: ignore[arg-type]
        return seen.plain[seen.now].copy()

    def dealing(secret: bytes, threshold: int, labels: Sequence[int]) -> list[bytes]:
        parts = split(secret, threshold, labels)
        round_, _, dealer = seen.now
        kind = "pair key" if seen.now in dealers else "own mask"
        dealers.append(seen.now)
        for label, part in zip(labels, parts, strict=True):
            seen.dealt[part] = kind, (round_, dealer, NODE + label - 1)
        return parts

    class Summed(SecureRound):
        def run(self, train: Mapping[int, Message], size: int) -> SecureSum:
            found = super().run(train, size)
            seen.sums[self._session.round] = self._session.number, found
            return found

    monkeypatch.setattr(fl_client.secure, "words", noted)
    monkeypatch.setattr(shares, "split", dealing)
    monkeypatch.setattr(fl_server.rounds, "SecureRound", Summed)
    return seen


class Street(Homes):
    """Real households; the coordinator dies once in each of ``PHASES``, in a round of its own.

    It dies when ``answered`` households have answered in that phase; after all, at the first
    message that follows.
    """

    def __init__(self, root: Path, homes: Path, folder: Folder, seen: Watch, answered: int) -> None:
        super().__init__(contexts(root, homes, NAMES, folder), lambda message: False)
        self._seen, self._answered = seen, answered
        self._asked: dict[tuple[int, str], int] = defaultdict(int)
        self.died: list[int] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        for message_id in list(message_ids):
            message = self._waiting[message_id]
            self._before(message)
            for reply in super().pull_messages([message_id]):
                self._after(message, reply)
                yield reply

    def _before(self, message: Message) -> None:
        content = message.content
        if SECURE not in content.config_records:
            due = [r for r in range(1, len(PHASES) + 1) if self._asked[r, PHASES[r - 1]] == HOMES]
            for round_ in set(due) - set(self.died):
                self._die(round_)
            return
        record = record_of(content)
        round_, phase = int(str(record["round"])), str(record["phase"])
        self._seen.now = round_, bytes(record["session"]), message.metadata.dst_node_id  # type: ignore[arg-type]
        if phase == "masked":
            self._seen.models[round_] = decode_arrays(content.array_records[ARRAYS])
        if round_ <= len(PHASES) and round_ not in self.died:
            at = PHASES.index(phase) - (round_ - 1)
            if at > 0 or (at == 0 and self._asked[round_, phase] == self._answered):
                self._die(round_)
        self._asked[round_, phase] += 1

    def _die(self, round_: int) -> None:
        self.died.append(round_)
        raise Killed

    def _after(self, message: Message, reply: Message) -> None:
        if SECURE not in message.content.config_records or reply.has_error():
            return
        if record_of(message.content)["phase"] == "unmask":
            told = record_of(reply.content)["shares"]
            for part in told:  # type: ignore[attr-defined]
                kind, about = self._seen.dealt[part]
                assert about[2] == message.metadata.dst_node_id
                self._seen.told[about].add(kind)


EVERY = range(HOMES + 1) if "FEDWATT_NIGHTLY" in os.environ else (2, HOMES)


@pytest.mark.longer
@pytest.mark.parametrize("answered", EVERY)
def test_coordinator_killed_in_every_phase_of_a_secure_sum(
    answered: int, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started again, it finishes the round with those that have not sent an update yet, where they
    are enough, and leaves it otherwise. Its model is that of the plain words of exactly those it
    counted, bit for bit, or the one before; no household tells both shares of another in a round.
    """
    seen = watch(monkeypatch)
    folder = community(tmp_path / "server", street, NAMES, *SETTINGS)
    grid = Street(tmp_path, street, folder, seen, answered)
    for _ in PHASES:
        with pytest.raises(Killed):
            run(folder, grid)
    run(folder, grid)
    assert grid.died == [1, 2, 3, 4, 5]
    lines = [json.loads(text) for text in (folder.run / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(line["dropped"] <= line["sampled"] == HOMES for line in lines)
    # Who has sent its update when the coordinator dies is not in the round that is begun again.
    sent = {1: 0, 2: 0, 3: answered, 4: HOMES, 5: HOMES}
    left = {round_: HOMES - count for round_, count in sent.items()} | {6: HOMES}
    done = {line["round"] for line in lines if "failed" not in line}
    assert done == {round_ for round_, count in left.items() if count >= 3}
    shapes = {name: array.shape for name, array in seen.models[1].items()}
    model = seen.models[1]
    for round_ in range(1, 7):
        start = seen.models.get(round_)
        assert start is None or same(start, model)
        if round_ not in done:
            continue
        session, found = seen.sums[round_]
        assert len(found.nodes) == left[round_] >= threshold_of(len(found.nodes))
        plain = sum(
            (seen.plain[round_, session, node] for node in found.nodes), np.zeros_like(found.total)
        )
        assert (found.total == plain).all()
        model, _, _ = mean(plain, shapes, len(METRICS))
    assert same(model, load_file(folder.run / "model" / "final.safetensors"))
    assert any(about[0] in done for about in seen.told)
    assert all(len(kinds) == 1 for kinds in seen.told.values())


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return set(one) == set(other) and all((one[name] == other[name]).all() for name in one)
