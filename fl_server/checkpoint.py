"""The coordinator's state on disk: where the run stands, and the model, written whole."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from common.arrays import Floats, Floats32
from common.errors import InputError
from common.files import read_json, whole, write_whole
from common.messages import decode_arrays, encode_arrays
from fl_server.rounds import Rounds
from fl_server.strategy.memory import Arrays, from_json, to_json

_MEMORY = "memory"
_PROOF = "proof"

Fill = tuple[int, int, int, int]
"""bought, sold [mWh], paid, received [1e-6 currency]."""


@dataclass
class Checkpoint:
    """Where a run stands: ``t`` is the next interval to run.

    ``heard``: per household, the newest interval whose signal it has. ``signals``: public [buy,
    sell] prices per past interval, from ``first_signal`` on. ``fills``: per cleared interval not
    settled by all, the fills by household. ``allowances``: under a cap, of the same intervals, mWh
    by household; ``scarcity`` the price beyond them [micro], ``drawn`` the imports known so far
    [mWh]. ``open``: per past interval, the households that have not reported it. ``lines``: report
    lines of intervals not settled yet. ``faults``: (interval, household, why). ``spans``: per
    household, the intervals it took part in as [first, end) pairs, -1 for no end; None while
    everybody always did. ``over``: the run is closed. ``stated``: per household, the newest month
    whose statement it has kept, and the statement's hash. ``compensated``: the interval until which
    members have compensated each other, -1 where a release before has not kept it;
    ``month_asked``: since when they are asked for the month
    after it, -1 while they are not, and ``month_told`` what each has said of it.
    """

    t: int
    heard: list[int]
    signals: list[tuple[float, float]] = field(default_factory=list)
    fills: dict[int, dict[int, Fill]] = field(default_factory=dict)
    open: dict[int, set[int]] = field(default_factory=dict)
    lines: dict[int, dict[str, object]] = field(default_factory=dict)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    allowances: dict[int, dict[int, int]] = field(default_factory=dict)
    scarcity: dict[int, int] = field(default_factory=dict)
    drawn: dict[int, int] = field(default_factory=dict)
    spans: list[list[list[int]]] | None = None
    first_signal: int = 0
    over: bool = False
    stated: dict[int, tuple[str, str]] = field(default_factory=dict)
    compensated: int = 0
    month_asked: int = -1
    month_told: dict[int, dict[str, float]] = field(default_factory=dict)

    def signal(self, t: int) -> tuple[float, float]:
        """Public [buy, sell] price of interval ``t``."""
        return self.signals[t - self.first_signal]

    def signals_between(self, first: int, end: int) -> Floats:
        """(end - first, 2) of intervals ``first`` to ``end``, the last left out."""
        begin = self.first_signal
        told = self.signals[first - begin : end - begin]
        return np.array(told, dtype=np.float64).reshape(-1, 2)

    def forget_signals(self, before: int) -> None:
        """Forget those of intervals before ``before``: whoever was away so long is told no more."""
        gone = before - self.first_signal
        if gone > 0:
            del self.signals[:gone]
            self.first_signal = before

    def since(self, h: int) -> int:
        """The interval from which on household ``h`` is in, if it is; the next one otherwise."""
        if self.spans is None:
            return 0
        inside = [first for first, end in self.spans[h] if end < 0]
        return inside[0] if inside else self.t

    @classmethod
    def fresh(cls, households: int) -> "Checkpoint":
        """The state before interval 0."""
        return cls(0, [-1] * households)

    def grow(self, households: int) -> None:
        """Make room for households that were admitted: they have heard of nothing."""
        if households > len(self.heard):
            if self.t > 0:
                self._tell_spans()
            if self.spans is not None:
                self.spans += [[] for _ in range(households - len(self.heard))]
            self.heard += [-1] * (households - len(self.heard))

    def unread(self, h: int, t: int) -> list[int]:
        """Intervals before ``t`` that household ``h`` has not reported, oldest first."""
        missed = sorted(s for s, who in self.open.items() if h in who)
        return [*missed, t - 1] if t > 0 and self.was_in(h, t - 1) else missed

    def was_in(self, h: int, s: int) -> bool:
        """Whether household ``h`` took part in interval ``s``."""
        if self.spans is None:
            return True
        return any(first <= s and not 0 <= end <= s for first, end in self.spans[h])

    def seat(self, t: int, present: Sequence[int]) -> None:
        """Interval ``t`` is cleared among these households."""
        if self.spans is None:
            if len(present) == len(self.heard):
                return
            self._tell_spans()
        assert self.spans is not None
        there = set(present)
        for h, spans in enumerate(self.spans):
            inside = bool(spans) and spans[-1][1] < 0
            if h in there and not inside:
                spans.append([t, -1])
            elif h not in there and inside:
                spans[-1][1] = t

    def _tell_spans(self) -> None:
        """Say of each household that it has always been in, where that was taken for granted."""
        if self.spans is None:
            self.spans = [[[0, -1]] if self.t > 0 else [] for _ in self.heard]

    def release(self, t: int) -> None:
        """Forget the fills that every household has settled, up to ``t``."""
        for s in [s for s in self.fills if s <= t and s not in self.open]:
            del self.fills[s]
        for s in [s for s in self.allowances if s <= t]:
            # Kept for those who still owe a reading, which are few.
            owing = self.open.get(s, ())
            self.allowances[s] = {h: self.allowances[s][h] for h in sorted(owing)}
            if not owing:
                del self.allowances[s], self.scarcity[s], self.drawn[s]

    def to_json(self) -> str:
        """This state as text."""
        plain = vars(self) | {"open": {t: sorted(who) for t, who in self.open.items()}}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> "Checkpoint":
        """The state that ``to_json`` wrote."""
        plain = json.loads(text)
        return cls(
            t=plain["t"],
            heard=plain["heard"],
            signals=[tuple(pair) for pair in plain["signals"]],
            fills={
                int(t): {int(h): tuple(fill) for h, fill in fills.items()}
                for t, fills in plain["fills"].items()
            },
            open={int(t): set(who) for t, who in plain["open"].items()},
            lines={int(t): line for t, line in plain["lines"].items()},
            faults=[tuple(fault) for fault in plain["faults"]],
            allowances={
                int(t): {int(h): milliwh for h, milliwh in who.items()}
                for t, who in plain.get("allowances", {}).items()
            },
            scarcity={int(t): price for t, price in plain.get("scarcity", {}).items()},
            drawn={int(t): milliwh for t, milliwh in plain.get("drawn", {}).items()},
            spans=plain.get("spans"),
            first_signal=plain.get("first_signal", 0),
            over=plain.get("over", False),
            stated={
                int(h): (month, hash_) for h, (month, hash_) in plain.get("stated", {}).items()
            },
            compensated=plain.get("compensated", -1),
            month_asked=plain.get("month_asked", -1),
            month_told={int(h): told for h, told in plain.get("month_told", {}).items()},
        )


class Checkpoints:
    """The checkpoint of a run, in ``RUN/model`` and ``RUN/checkpoint.json``.

    The model is written first, under its own name, and the small file that names it last: a
    process killed in between leaves the old checkpoint whole, and so does a power cut if it is
    ``durable``.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self._durable = durable
        self._file = directory / "checkpoint.json"
        self._models = directory / "model"
        self._models.mkdir(parents=True, exist_ok=True)

    def save(
        self, state: Checkpoint, rounds: Rounds | None, proof: Mapping[str, str] | None = None
    ) -> None:
        """Write the state and, where there is learning, the model and the strategy's own state.

        ``proof``: digests of the run's other files as they are now, by name.
        """
        if rounds is not None:
            self.save_model(f"interval-{state.t}", rounds.arrays)
            text, arrays = to_json(rounds.memory())
            self._write(f"strategy-{state.t}", arrays, {_MEMORY: text})
        text = json.dumps({**json.loads(state.to_json()), _PROOF: dict(proof or {})})
        write_whole(self._file, text, durable=self._durable)
        for old in self._models.iterdir():
            if old.stem.startswith(("interval-", "strategy-")) and old.stem.split("-")[1] != str(
                state.t
            ):
                old.unlink()

    def save_model(self, name: str, arrays: ArrayRecord) -> Path:
        """Write a model as ``model/NAME.safetensors``."""
        return self._write(name, dict(decode_arrays(arrays)))

    def _write(self, name: str, arrays: Arrays, about: dict[str, str] | None = None) -> Path:
        path = self._models / f"{name}.safetensors"
        with whole(path, durable=self._durable) as part:
            save_file(arrays, part, about)
        return path

    def load(self) -> Checkpoint | None:
        """Return the newest state, None before the first checkpoint. Raises InputError."""
        if not self._file.exists():
            return None
        try:
            return Checkpoint.from_json(self._file.read_text())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._file}: damaged ({type(error).__name__}); put back a whole one, or begin "
                "a run anew"
            ) from None

    def proof(self) -> dict[str, str]:
        """Digests of the run's other files when the newest state was written."""
        proof: dict[str, str] = read_json(self._file).get(_PROOF, {})
        return proof

    def check(self, state: Checkpoint) -> None:
        """Raise InputError where the model of a checkpoint cannot be gone on from."""
        self._read(state)

    def _read(self, state: Checkpoint) -> tuple[dict[str, Floats32], Any]:
        """The model of a checkpoint, and what the rounds remembered."""
        if (self._models / f"strategy-{state.t}.pickle").exists():
            raise InputError(
                f"{self._models}: left by an older fedwatt, as a program to be run; this one reads "
                "data only. Begin the run anew"
            )
        model = self._models / f"interval-{state.t}.safetensors"
        memory = self._models / f"strategy-{state.t}.safetensors"
        try:
            with safe_open(memory, "np") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = file.metadata()
            return load_file(model), from_json(about[_MEMORY], arrays)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._models}: the model of interval {state.t} is missing or damaged "
                f"({type(error).__name__}); put back whole files, or begin a run anew"
            ) from None

    def restore(self, state: Checkpoint, rounds: Rounds) -> None:
        """Give ``rounds`` the model and what it remembered at the checkpoint. Raises InputError."""
        arrays, memory = self._read(state)
        rounds.arrays = encode_arrays(arrays)
        try:
            rounds.recall(memory)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{self._models}: what the rounds remembered does not fit this run ({error})"
            ) from None
