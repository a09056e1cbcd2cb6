"""Training windows as views of arrays: a batch is gathered when it is asked for, never before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats32
from common.errors import InputError
from common.forecast.history import CALENDAR_AHEAD, History
from common.forecast.inputs import (
    ahead_block,
    mirrored_rows,
    past_block,
    target_units,
    wall_clock_rows,
)
from common.forecast.presets import Preset, find_preset
from common.forecast.scalers import Scaler
from common.forecast.streams import HORIZONS, KINDS, SLOTS, STREAMS

Rows = NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)

WEEK_OF_SLOTS = 7 * SLOTS
# Steps of the long streams that one training batch of the slot family looks at: a stride that
# shares no factor with 48 meets every slot of the day, and every step in turn.
_LONG_STRIDE = {"week": 13, "month": 61}


@dataclass(frozen=True)
class Batch:
    """Inputs of B windows, and per stream the targets (B, n) in the model's units and a mask.

    The mask is False where a target lies beyond the span's end. ``inputs`` may hold ``week_steps``
    and ``month_steps``, the steps (n,) of the long streams that this batch trains.
    """

    inputs: Mapping[str, NDArray[np.generic]]
    targets: Mapping[str, Floats32]
    masks: Mapping[str, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))


@dataclass(frozen=True)
class _Part:
    """One household's arrays. Row r of the history is row r - low of them."""

    low: int
    past: Floats32  # (known - low, channels)
    calendar: Floats32  # (known - low + 1440, 4)
    daylight: Floats32  # (known - low + 1440, 2)
    shift: Rows  # (known - low + 1440,)
    targets: Floats32  # (known - low, 2)


class Windows:
    """All windows of one or more households: forecast origins, and the row their targets end at.

    A window with origin o reads rows before o only. Its targets are rows o, o + 1, ...; those at
    or beyond the span's end are masked, so spans that touch share no target (the embargo).
    """

    def __init__(
        self,
        preset: Preset,
        parts: Sequence[_Part],
        origins: Sequence[Rows],
        ends: Sequence[int],
    ) -> None:
        self.preset = preset
        self._parts, self._origins, self._ends = list(parts), list(origins), list(ends)
        self._past = _joined([part.past for part in parts])
        self._calendar = _joined([part.calendar for part in parts])
        self._targets = _joined([part.targets for part in parts])
        self._daylight = _joined([part.daylight for part in parts])
        self._shift = _joined([part.shift for part in parts])
        # Where each window's origin lies in the joined arrays, and the end of its targets.
        past_at, calendar_at, end_at = [], [], []
        rows = steps = 0
        for part, at, end in zip(parts, origins, ends, strict=True):
            past_at.append(at - part.low + rows)
            calendar_at.append(at - part.low + steps)
            end_at.append(np.full(len(at), end - part.low + rows))
            rows += len(part.past)
            steps += len(part.calendar)
        self._past_at = _joined(past_at)
        self._calendar_at = _joined(calendar_at)
        self._end_at = _joined(end_at)

    def __len__(self) -> int:
        return len(self._past_at)

    def split(self, validation: float) -> tuple["Windows", "Windows"]:
        """Split in time order: the last ``validation`` share of each household's span is held out.

        Training windows whose day of targets would reach into the held-out span are left out.
        """
        if not 0.0 < validation < 1.0:
            raise InputError(f"validation share {validation} is not between 0 and 1")
        early, late, cuts = [], [], []
        for origins, end in zip(self._origins, self._ends, strict=True):
            first = int(origins[0]) if len(origins) else end
            cut = end - round((end - first) * validation)
            cuts.append(cut)
            early.append(origins[origins + HORIZONS["day"] <= cut])
            late.append(origins[origins >= cut])
        return (
            Windows(self.preset, self._parts, early, cuts),
            Windows(self.preset, self._parts, late, self._ends),
        )

    def every(self, stride: int) -> "Windows":
        """Keep each household's every ``stride``-th window."""
        kept = [origins[::stride] for origins in self._origins]
        return Windows(self.preset, self._parts, kept, self._ends)

    def batch(
        self, which: Rows, phase: int | None = None, mirror: NDArray[np.bool_] | None = None
    ) -> Batch:
        """Gather the windows of these indices, (B,).

        ``phase`` thins the long streams of the slot family to a comb of steps that starts there;
        None takes every step. ``mirror`` (B,) asks the slot family to read windows backwards in
        days: the days after the day of targets stand for those before it, and only the day's
        streams have targets. A window whose span ends too early for that stays as it is.
        """
        past_at = self._past_at[which]
        lookback = self.preset.lookback
        steps = {name: np.arange(length) for name, length in HORIZONS.items()}
        inputs: dict[str, NDArray[np.generic]] = {}
        if self.preset.family == "window":
            inputs["window"] = self._past[past_at[:, None] + np.arange(-lookback, 0)]
        else:
            at = self._calendar_at[which]
            rows = wall_clock_rows(self._shift, at, lookback)
            if mirror is not None:
                # A day of targets, the days that follow, and a change of the clock.
                room = past_at + lookback + 2 * SLOTS <= self._end_at[which]
                mirror = mirror & room
                rows = np.where(mirror[:, None], mirrored_rows(self._shift, at, lookback), rows)
            inputs["past"] = self._past[rows + (past_at - at)[:, None]]
            if phase is not None:
                for name, stride in _LONG_STRIDE.items():
                    steps[name] = np.arange(phase % stride, HORIZONS[name], stride)
                    inputs[f"{name}_steps"] = steps[name]
            for name in HORIZONS:
                inputs[f"{name}_ahead"] = ahead_block(
                    self._calendar, self._daylight, self._shift, at, steps[name], mirror
                )
        end_at = self._end_at[which][:, None]
        targets, masks = {}, {}
        for stream, (kind, name) in STREAMS.items():
            rows = past_at[:, None] + steps[name]
            mask = rows < end_at
            if mirror is not None and name != "day":
                mask &= ~mirror[:, None]
            values = self._targets[np.minimum(rows, end_at - 1), KINDS.index(kind)]
            targets[stream], masks[stream] = np.where(mask, values, np.float32(0)), mask
        return Batch(inputs, targets, masks)

    def epoch(self, size: int, rng: np.random.Generator | None) -> Iterator[Batch]:
        """Every window once, in batches of ``size``, the last one as long as it comes.

        Shuffled when ``rng`` is given, and some mirrored, as in training; else in order. The long
        streams are thinned.
        """
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(order), size):
            which = order[start : start + size]
            phase = 0 if rng is None else int(rng.integers(HORIZONS["month"]))
            mirror = None if rng is None else mirror_draw(self.preset, len(which), rng)
            yield self.batch(which, phase, mirror)

    def draws(self, size: int, steps: int, rng: np.random.Generator) -> Iterator[Batch]:
        """``steps`` batches of ``size`` distinct windows each, or of all when there are fewer."""
        size = min(size, len(self))
        for _ in range(steps):
            which = rng.choice(len(self), size, replace=False)
            phase = int(rng.integers(HORIZONS["month"]))
            yield self.batch(which, phase, mirror_draw(self.preset, size, rng))


def mirror_draw(preset: Preset, size: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Which of ``size`` training windows are read backwards in days: half of the slot family's.

    A training span of spring and summer only falls, and a model takes that fall for a habit. Read
    both ways, the mean drift of what it trains on is none, and only the season's inputs, which
    change sign too, can explain one.
    """
    return rng.random(size) < 0.5 if preset.family == "slot" else None


def _joined(arrays: Sequence[NDArray[_T]]) -> NDArray[_T]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def training_windows(
    history: History, scaler: Scaler, preset: str, first: int, known: int
) -> Windows:
    """Windows of one household with origins and targets in rows ``first`` to ``known``.

    Inputs may reach back before ``first``. The first origin has a day of history, a week for
    the slot family where the span allows it. Only origins whose day of targets is complete count;
    there may be none. Rows from ``known`` on are not read.
    """
    chosen = find_preset(preset)
    if not 0 <= first <= known <= len(history):
        raise InputError(f"windows: rows {first} to {known} of a history of {len(history)} rows")
    last = known - HORIZONS["day"]
    least = WEEK_OF_SLOTS if chosen.family == "slot" and last >= WEEK_OF_SLOTS else SLOTS
    origins = np.arange(max(first, least), last + 1)
    # Four rows to spare for a change of the clock.
    low = (int(origins[0]) if len(origins) else known) - chosen.lookback - 4
    offset, unit = target_units(scaler, chosen)
    rows = np.maximum(np.arange(low, known), 0)
    values = np.stack([history.consumption(0, known), history.price(0, known)], axis=1)
    if not len(origins):
        low, rows = known, rows[:0]
        past = np.zeros((0, 1), np.float32)
    else:
        past = past_block(history, scaler, chosen, np.arange(low, known))
    targets = ((values[rows] - offset) / unit).astype(np.float32)
    ahead = np.maximum(np.arange(low, known + CALENDAR_AHEAD), 0)
    part = _Part(
        low,
        past,
        history.calendar[ahead],
        history.daylight[ahead],
        history.clock_shift[ahead],
        targets,
    )
    return Windows(chosen, [part], [origins], [known])


def pool(windows: Sequence[Windows]) -> Windows:
    """Join the windows of several households of one preset, for centralised training."""
    if not windows:
        raise InputError("no windows to pool")
    kept = [one for one in windows if len(one)] or list(windows[:1])
    return Windows(
        kept[0].preset,
        [part for one in kept for part in one._parts],
        [origins for one in kept for origins in one._origins],
        [end for one in kept for end in one._ends],
    )
