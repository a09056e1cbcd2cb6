"""Replies of real households, and what becomes of them in hostile hands.

``recorded`` runs a small community and keeps, of one market round, of the closing and of one model
round, the coordinator's side as it was before and every household's reply. ``mutated`` spoils a
reply: its bytes as they travel, a field of it, or its records.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Proto

from common.config import Settings
from fl_server.checkpoint import Checkpoint
from fl_server.coordinator import Coordinator
from fl_server.mailbox import Mailbox
from fl_server.rounds import Rounds
from simulations.simulate import simulate

NASTY: tuple[Any, ...] = (
    0, 1, -1, 2**31, 2**63 - 1, -(2**63), True, False, 0.0, -0.0, 1.5, -1.0, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), "", "x", "\x00", "'''", "{'descr': (((", "9" * 400,
    "x" * 200_000, "\u202e<b>", '{"cost": ' + "9" * 400 + "}", "[" * 5000, b"", b"\x00",
    b"\x93NUMPY", b"\xff" * 24, b"\x80" * 48, [], [1], [1.0], [float("nan")], ["a"], [b"a"],
    [True], [2**63 - 1] * 9,
)  # fmt: skip


class _Enough(Exception):
    """All that was wanted has been seen."""


@dataclass
class Recorded:
    """The coordinator's side before a round, and what the households answered, by their index."""

    coordinator: Coordinator
    state: str
    market: dict[int, RecordDict]
    closing_state: str = ""
    closing: dict[int, RecordDict] = field(default_factory=dict)
    rounds: Rounds | None = None
    arrays: ArrayRecord | None = None
    train: dict[int, RecordDict] = field(default_factory=dict)
    evaluate: dict[int, RecordDict] = field(default_factory=dict)
    medians: dict[str, list[float]] = field(default_factory=dict)


def recorded(settings: Settings, out: Path, t: int, round_: int) -> Recorded:
    """Record interval ``t``, the closing and model round ``round_`` of a whole run."""
    found: dict[str, Any] = {}
    ask, mail, run, exchange = Coordinator.ask, Mailbox.ask, Rounds.run, Rounds._exchange

    def watched_ask(self: Coordinator, now: int, *rest: Any, **named: Any) -> Any:
        end = settings.intervals
        if now in (t, end):
            kind = "market" if now == t else "closing"
            found[kind] = {}
            found[f"{kind} state"], found["coordinator"] = self.state.to_json(), self
            found["now"] = kind
        answers = ask(self, now, *rest, **named)
        found.pop("now", None)
        return answers

    def watched_mail(self: Mailbox, *given: Any, **named: Any) -> Iterator[tuple[int, Message]]:
        for h, message in mail(self, *given, **named):
            if "now" in found:
                found[found["now"]][h] = RecordDict(dict(message.content))
            yield h, message

    def watched_run(self: Rounds, number: int, *rest: Any) -> Any:
        if number == round_:
            found["rounds"], found["arrays"] = self, self.arrays
            found["medians"] = {kind: list(one.medians) for kind, one in self.lengths.items()}
        result = run(self, number, *rest)
        return result

    def watched_exchange(self: Rounds, messages: list[Message], *rest: Any) -> Iterable[Message]:
        for reply in exchange(self, messages, *rest):
            if "rounds" in found:
                kind = "train" if reply.metadata.message_type.startswith("train") else "evaluate"
                node = reply.metadata.src_node_id
                found.setdefault(kind, {}).setdefault(node, RecordDict(dict(reply.content)))
            yield reply

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Coordinator, "ask", watched_ask)
        patch.setattr(Mailbox, "ask", watched_mail)
        patch.setattr(Rounds, "run", watched_run)
        patch.setattr(Rounds, "_exchange", watched_exchange)
        simulate(settings, out)
    return Recorded(
        found["coordinator"],
        found["market state"],
        found["market"],
        found["closing state"],
        found["closing"],
        found.get("rounds"),
        found.get("arrays"),
        found.get("train", {}),
        found.get("evaluate", {}),
        found.get("medians", {}),
    )


class _Ledger:
    """Takes down what would be booked."""

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def record(
        self, t: int, fills: Any, settled: Any, _: object, compensation: Any, *more: object
    ) -> None:
        self.said.append(_bytes(("on time", t, fills, settled, compensation)))

    def record_late(self, s: int, h: int, settled: Any, *, estimated: bool = False) -> None:
        self.said.append(_bytes(("late", s, h, settled, estimated)))

    def revise(self, s: int, h: int, settled: Any) -> bool:
        self.said.append(_bytes(("anew", s, h, settled)))
        return True

    def filled(self, interval: int, household: int) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0

    def metered(self, household: int, intervals: Any) -> dict[int, int]:
        return {}

    def owed(self, interval: int, settled: Any) -> Any:
        return np.zeros(len(settled.grid_import), np.int64)


class _Lines:
    def write(self, _: object) -> None:
        """Timing differs; what is booked is compared."""


def _bytes(value: object) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, tuple | list):
        return b"(" + b",".join(_bytes(one) for one in value) + b")"
    if hasattr(value, "__dict__"):
        return _bytes([(name, one) for name, one in sorted(vars(value).items())])
    return repr(value).encode()


@dataclass
class Outcome:
    """What a market round left: all that was booked, its public prices, who failed and why."""

    booked: list[bytes]
    signals: list[Any]
    fills: dict[int, Any]
    faults: dict[int, str]
    refused: dict[int, tuple[str, ...]]


def market_round(one: Recorded, t: int, replies: dict[int, RecordDict | None]) -> Outcome:
    """Run interval ``t``, or the closing where it is the run's end, on these replies."""
    coordinator = one.coordinator
    closing = t >= coordinator._settings.intervals
    state = Checkpoint.from_json(one.closing_state if closing else one.state)
    ledger = _Ledger()
    books, mailbox = coordinator._books, coordinator.mailbox
    kept = books.ledger, books.intervals, books._state, coordinator.state, mailbox.ask
    contents = {h: RecordDict(dict(c)) for h, c in replies.items() if c is not None}

    def ask(action: str, now: int, given: Any, patience: Any = None) -> Any:
        for h, content in given:
            if h in contents:
                node = mailbox.roster.node_ids[h]
                yield h, Message(contents[h], reply_to=Message(content, node, "query.interval"))

    books.ledger, books.intervals, books._state = ledger, _Lines(), state  # type: ignore[assignment]
    coordinator.state, mailbox.ask = state, ask  # type: ignore[method-assign]
    coordinator._refused = {}
    try:
        if closing:
            answers = coordinator.ask(t, closing=True)
            coordinator.close(answers, t)
        else:
            answers = coordinator.interval(t)
        refused = dict(coordinator._refused)
    finally:
        books.ledger, books.intervals, books._state, coordinator.state, mailbox.ask = kept  # type: ignore[method-assign]
    return Outcome(ledger.said, list(state.signals), dict(state.fills), answers.faults, refused)


@dataclass
class Learnt:
    """What a model round left."""

    model: bytes
    medians: dict[str, list[float]]
    train: Any
    evaluate: Any
    accepted: int
    unreached: int
    failed: str | None


def model_round(
    one: Recorded,
    round_: int,
    interval: int,
    train: dict[int, RecordDict | None],
    evaluate: dict[int, RecordDict | None],
) -> Learnt:
    """Run a model round on these replies, by node."""
    rounds = one.rounds
    assert rounds is not None
    assert one.arrays is not None
    rounds.arrays = one.arrays
    for kind, lengths in rounds.lengths.items():
        lengths.medians = list(one.medians[kind])

    def exchange(messages: list[Message], *_: Any) -> Iterable[Message]:
        for message in messages:
            given = train if message.metadata.message_type.startswith("train") else evaluate
            content = given.get(message.metadata.dst_node_id)
            if content is not None:
                yield Message(RecordDict(dict(content)), reply_to=message)

    rounds._exchange = exchange  # type: ignore[method-assign]
    config = ConfigRecord({"interval": interval})
    result = rounds.run(round_, config, config.copy())
    model = b"".join(bytes(array.data) for array in rounds.arrays.values())
    return Learnt(
        model,
        {kind: list(lengths.medians) for kind, lengths in rounds.lengths.items()},
        None if result.train is None else dict(result.train),
        None if result.evaluate is None else dict(result.evaluate),
        result.screening.accepted,
        result.unreached,
        result.failed,
    )


def mutated(content: RecordDict, rng: random.Random, value: object) -> RecordDict | None:
    """A reply spoilt, None where its bytes are no message any more (which the link tells)."""
    way = rng.random()
    try:
        if way < 0.35:
            data = recorddict_to_proto(content).SerializeToString()
            proto = Proto()
            proto.ParseFromString(_spoilt(data, rng))
            return recorddict_from_proto(proto)
        return _fields(content, rng, value, deep=way < 0.7)
    except Exception:
        # What no message can be made of never gets beyond the link.
        return None


def _spoilt(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(made) + 1)
        span = rng.choice((1, 2, 8, 40, max(1, len(made) // 3)))
        match rng.randrange(6):
            case 0 if made:
                made[min(at, len(made) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del made[at : at + span]
            case 2:
                made[at:at] = rng.randbytes(min(span, 200))
            case 3:
                made[at:at] = made[at : at + min(span, 4000)]
            case 4:
                del made[at:]
            case 5:
                made[at : at + 8] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * 8
    return bytes(made)


def _fields(content: RecordDict, rng: random.Random, value: object, *, deep: bool) -> RecordDict:
    """Change one entry of one record, or a record as a whole."""
    made = RecordDict(dict(content))
    name = rng.choice(sorted(made))
    record = made[name]
    if rng.random() < 0.15:
        del made[name]
        if rng.random() < 0.6:
            made[rng.choice((name, "config", "metrics", "arrays", "more"))] = rng.choice(
                (ConfigRecord({"t": 1}), MetricRecord({"a": 1}), ArrayRecord())
            )
        return made
    key = rng.choice(sorted(record)) if record else "more"
    if isinstance(record, ArrayRecord):
        made[name] = _arrays(record, key, rng)
        return made
    plain = dict(record.items())
    old = plain.get(key)
    if deep and isinstance(old, bytes) and old:
        plain[key] = _spoilt(old, rng)
    elif deep and isinstance(old, str) and old:
        plain[key] = _spoilt(old.encode(), rng).decode("utf-8", "replace")
    elif rng.random() < 0.2:
        plain.pop(key, None)
    else:
        plain[rng.choice((key, key, key, "more"))] = value
    made[name] = type(record)(plain)  # type: ignore[arg-type]
    return made


def _arrays(record: ArrayRecord, key: str, rng: random.Random) -> ArrayRecord:
    made = ArrayRecord()
    for name in sorted(record, key=lambda _: rng.random()) if rng.random() < 0.1 else record:
        made[name] = record[name]
    old = record[key] if key in record else Array(np.zeros(1, np.float32))
    kinds = ("<f2", ">f4", "<f8", "g", "<i4", "?", "<c8", "u1")
    match rng.randrange(7):
        case 0:
            del made[key]
        case 1:
            made[key] = Array(old.dtype, old.shape, old.stype, _spoilt(old.data, rng))
        case 2:
            # The head says what the rest is: that is where readers fall.
            data = _spoilt(old.data[:128], rng) + old.data[128:]
            made[key] = Array(old.dtype, old.shape, old.stype, data)
        case 3:
            made[key] = Array(old.numpy().astype(rng.choice(kinds)))
        case 4:
            factor = rng.choice((float("nan"), float("inf"), 1e6, -1e30, 100.0))
            made[key] = Array((old.numpy() * np.float32(factor)).astype(np.float32))
        case 5:
            made[rng.choice(("more", key))] = Array(np.zeros(rng.choice((0, 1, 7)), np.float32))
        case 6:
            made[key] = Array(old.dtype, old.shape, rng.choice(("pickle", "", "torch")), old.data)
    return made
