"""Training windows as views of arrays: a batch is gathered when it is asked for, never before."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from common.arrays import Floats32
from common.errors import InputError
from common.forecast.features import FEATURES
from common.forecast.history import CALENDAR_AHEAD, History
from common.forecast.inputs import (
    SLOT_CHANNELS,
    ahead_block,
    mirrored_rows,
    past_block,
    target_units,
    wall_clock_rows,
)
from common.forecast.net_inputs import NetRows, joined_rows, net_inputs, net_rows, slot_of
from common.forecast.presets import Preset, find_preset
from common.forecast.scalers import Scaler
from common.forecast.slot_inputs import slot_inputs
from common.forecast.streams import (
    HORIZON_WEIGHT,
    HORIZONS,
    KINDS,
    NET,
    SLOTS,
    STREAMS,
    TASK_WEIGHT,
)

Rows = NDArray[np.int64]
_T = TypeVar("_T", bound=np.generic)

WEEK_OF_SLOTS = 7 * SLOTS
# Steps of the long streams that one training batch of the slot family looks at: a stride that
# shares no factor with 48 meets every slot of the day, and every step in turn.
_LONG_STRIDE = {"week": 13, "month": 61}

# Steps of net load that a window is measured on, the one being traded among them.
NET_STEPS = np.array([0, 1, 3, 8, 20, 40])


@dataclass(frozen=True)
class Batch:
    """Inputs of B windows, and per stream the targets (B, n) in the model's units and a mask.

    The mask is False where a target lies beyond the span's end. ``inputs`` are ``window``
    (B, 48, 24), or what ``slot_inputs`` makes of some or all steps of each horizon.
    """

    inputs: Mapping[str, NDArray[np.generic]]
    targets: Mapping[str, Floats32]
    masks: Mapping[str, NDArray[np.bool_]]

    @property
    def weights(self) -> dict[str, Floats32]:
        """What each element of the targets counts in the total loss, (B, n): 0 where masked."""
        weights = {}
        for stream, mask in self.masks.items():
            kind, name = STREAMS.get(stream, ("consumption", "day"))
            share = HORIZON_WEIGHT[name] * TASK_WEIGHT[kind] / max(int(np.count_nonzero(mask)), 1)
            weights[stream] = mask * np.float32(share)
        return weights

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))


@dataclass(frozen=True)
class _Part:
    """One household's arrays. Row r of the history is row r - low of them.

    The past is (known - low, 24) for the window family, (3, known - low) for the slot family.
    """

    low: int
    past: Floats32
    calendar: Floats32  # (4, known - low + 1440)
    daylight: Floats32  # (2, known - low + 1440)
    shift: Rows  # (known - low + 1440,)
    targets: Floats32  # (2, known - low)
    net: NetRows | None = None  # of the slot family: rows from the first of the history on


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
        self._past = _joined([part.past for part in parts], 0 if preset.family == "window" else 1)
        self._calendar = _joined([part.calendar for part in parts], 1)
        self._targets = _joined([part.targets for part in parts], 1)
        self._daylight = _joined([part.daylight for part in parts], 1)
        self._shift = _joined([part.shift for part in parts])
        # Clock changes up to each row: between two rows of one count there is none.
        self._changes = np.cumsum(np.diff(self._shift, prepend=self._shift[:1]) != 0)
        # Where each window's origin lies in the joined arrays, and the end of its targets.
        past_at, calendar_at, end_at = [], [], []
        net_at, net_first, net_end = [], [], []
        rows = steps = net_rows_before = 0
        nets = [part.net for part in parts if part.net is not None]
        self._net = joined_rows(nets) if nets else None
        for part, at, end in zip(parts, origins, ends, strict=True):
            past_at.append(at - part.low + rows)
            calendar_at.append(at - part.low + steps)
            end_at.append(np.full(len(at), end - part.low + rows))
            if part.net is not None:
                net_at.append(at + net_rows_before)
                net_first.append(np.full(len(at), net_rows_before))
                net_end.append(np.full(len(at), net_rows_before + end))
                net_rows_before += len(part.net)
            rows += part.targets.shape[1]
            steps += len(part.shift)
        self._past_at = _joined(past_at)
        self._calendar_at = _joined(calendar_at)
        self._end_at = _joined(end_at)
        if nets:
            self._net_at, self._net_first = _joined(net_at), _joined(net_first)
            self._net_end = _joined(net_end)

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
        self,
        which: Rows,
        phase: int | None = None,
        mirror: NDArray[np.bool_] | None = None,
        horizons: Sequence[str] = tuple(HORIZONS),
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Gather the windows of these indices, (B,), with the streams of these horizons.

        ``phase`` thins the long streams of the slot family to a comb of steps that starts there;
        None takes every step. ``mirror`` (B,) asks the slot family to read windows backwards in
        days: the days after the day of targets stand for those before it, and only the day's
        streams have targets. A window whose span ends too early for that stays as it is.
        ``rng`` draws the steps of net load, and windows of homes that are new; see ``_add_net``.
        """
        past_at = self._past_at[which]
        steps = {name: np.arange(n) for name, n in HORIZONS.items() if name in horizons}
        inputs: dict[str, NDArray[np.generic]] = {}
        if self.preset.family == "window":
            inputs["window"] = self._past[past_at[:, None] + np.arange(-self.preset.lookback, 0)]
        else:
            if phase is not None:
                for name in steps.keys() & _LONG_STRIDE:
                    stride = _LONG_STRIDE[name]
                    steps[name] = np.arange(phase % stride, HORIZONS[name], stride)
            if mirror is not None:
                # A day of targets, the days that follow, and a change of the clock.
                room = past_at + self.preset.lookback + 2 * SLOTS <= self._end_at[which]
                mirror = mirror & room
            at = self._calendar_at[which]
            every = np.concatenate(list(steps.values()))
            ahead = ahead_block(self._calendar, self._daylight, self._shift, at, every, mirror)
            inputs = slot_inputs(self.days(which, mirror), ahead, steps)
        rows = past_at[:, None] + np.concatenate(list(steps.values()))
        end_at = self._end_at[which][:, None]
        known = rows < end_at
        values = self._targets.take(np.minimum(rows, end_at - 1), 1)  # (kinds, B, n)
        values *= known
        targets, masks, first = {}, {}, 0
        for name, of in steps.items():
            here = slice(first, first + len(of))
            first += len(of)
            mask = known[:, here]
            if mirror is not None and name != "day":
                mask = mask & ~mirror[:, None]
            for i, kind in enumerate(KINDS):
                masks[f"{kind}_{name}"] = mask
                targets[f"{kind}_{name}"] = values[i, :, here]
        if self._net is not None and "day" in horizons:
            self._add_net(self._net, which, rng, inputs, targets, masks)
        return Batch(inputs, targets, masks)

    def _add_net(
        self,
        rows: NetRows,
        which: Rows,
        rng: np.random.Generator | None,
        inputs: dict[str, NDArray[np.generic]],
        targets: dict[str, Floats32],
        masks: dict[str, NDArray[np.bool_]],
    ) -> None:
        """Add a few steps of each window's net load: the one being traded and later ones.

        With ``rng`` the later ones are drawn, and two windows of five forget what is older than one
        to 28 days, so that the model knows homes that have just joined.
        """
        at, first = self._net_at[which], self._net_first[which]
        steps = np.broadcast_to(NET_STEPS, (len(which), len(NET_STEPS))).copy()
        if rng is not None:
            order = rng.random((len(which), SLOTS - 1)).argsort(1)
            steps[:, 1:] = 1 + order[:, : len(NET_STEPS) - 1]
            short = rng.integers(SLOTS + 4, 28 * SLOTS, len(which))
            first = np.where(rng.random(len(which)) < 0.4, np.maximum(first, at - short), first)
        made = net_inputs(rows, at, rows.lag[at], first, steps)
        ahead = at[:, None] + steps
        known = ahead < self._net_end[which][:, None]
        ahead = np.where(known, ahead, at[:, None])
        came = (rows.load[ahead] - rows.pv[ahead]) / made.unit[:, None]
        known &= np.isfinite(made.own).all(axis=2) & np.isfinite(came)
        inputs["net_inputs"] = np.where(known[..., None], made.inputs, np.float32(0))
        for name, values in (("net_own", made.own), ("net_other", made.other)):
            inputs[name] = np.where(known[..., None], values, 0.0).astype(np.float32)
        targets[NET] = np.where(known, came, 0.0).astype(np.float32)
        masks[NET] = known

    def slots(self, which: Rows) -> Rows:
        """Which half hour of the local day each of the day's targets is, (B, 48)."""
        at = self._calendar_at[which][:, None] + np.arange(HORIZONS["day"])
        return slot_of(self._calendar[0, at], self._calendar[1, at])

    def days(self, which: Rows, mirror: NDArray[np.bool_] | None = None) -> Floats32:
        """(channels, B, 28, 48): the days that these windows of the slot family read.

        In the household's units; first the day before the origin, or, where ``mirror`` is True, the
        day after the day of targets.
        """
        back = np.zeros(len(which), bool) if mirror is None else mirror
        lookback, at = self.preset.lookback, self._calendar_at[which]
        offset = np.where(back, SLOTS, -lookback)
        runs = sliding_window_view(self._past, lookback, axis=1)
        found = runs[:, self._past_at[which] + offset]
        days = found.reshape(len(found), len(which), -1, SLOTS)
        forward = np.flatnonzero(~back)
        days[:, forward] = days[:, forward, ::-1]
        # Beside a change of the clock the same hour is another row.
        low, high = np.minimum(offset, 0), np.maximum(offset + lookback, 0)
        moved = np.flatnonzero(self._changes[at + high] != self._changes[at + low])
        for rows_of, these in (
            (wall_clock_rows, moved[~back[moved]]),
            (mirrored_rows, moved[back[moved]]),
        ):
            if len(these):
                rows = rows_of(self._shift, at[these], lookback)
                rows += (self._past_at[which] - at)[these, None]
                days[:, these] = self._past[:, rows.reshape(len(these), -1, SLOTS)[:, ::-1]]
        return days

    def epoch(self, size: int, rng: np.random.Generator | None) -> Iterator[Batch]:
        """Every window once, in batches of ``size``, the last one as long as it comes.

        Shuffled when ``rng`` is given, and some mirrored, as in training; else in order. The long
        streams are thinned.
        """
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        net = None if rng is None else rng.spawn(1)[0]
        for start in range(0, len(order), size):
            which = order[start : start + size]
            phase = 0 if rng is None else int(rng.integers(HORIZONS["month"]))
            mirror = None if rng is None else mirror_draw(self.preset, len(which), rng)
            yield self.batch(which, phase, mirror, rng=net)

    def draws(self, size: int, steps: int, rng: np.random.Generator) -> Iterator[Batch]:
        """``steps`` batches of ``size`` distinct windows each, or of all when there are fewer."""
        size, net = min(size, len(self)), rng.spawn(1)[0]
        for _ in range(steps):
            which = rng.choice(len(self), size, replace=False)
            phase = int(rng.integers(HORIZONS["month"]))
            yield self.batch(which, phase, mirror_draw(self.preset, size, rng), rng=net)


def mirror_draw(preset: Preset, size: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Which of ``size`` training windows are read backwards in days: half of the slot family's.

    A training span of spring and summer only falls, and a model takes that fall for a habit. Read
    both ways, the mean drift of what it trains on is none, and only the season's inputs, which
    change sign too, can explain one.
    """
    return rng.random(size) < 0.5 if preset.family == "slot" else None


def _joined(arrays: Sequence[NDArray[_T]], axis: int = 0) -> NDArray[_T]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis)


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
        past = np.zeros((0, len(FEATURES)), np.float32)
    else:
        past = past_block(history, scaler, chosen, np.arange(low, known))
    if chosen.family == "slot":
        past = np.ascontiguousarray(past[:, : len(SLOT_CHANNELS)].T)
    targets = ((values[rows] - offset) / unit).astype(np.float32).T.copy()
    ahead = np.maximum(np.arange(low, known + CALENDAR_AHEAD), 0)
    part = _Part(
        low,
        past,
        np.ascontiguousarray(history.calendar[ahead].T),
        np.ascontiguousarray(history.daylight[ahead].T),
        history.clock_shift[ahead],
        targets,
        net_rows(history, known) if chosen.family == "slot" else None,
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
