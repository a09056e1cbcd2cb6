"""From what one meter said to energy over time: pieces, and what to think of the meter.

A piece is a stretch of time [s] and the energy [kWh] that flowed in it; within it power is taken
as constant, so a register is interpolated at the boundaries of intervals. What a meter says wrongly
is told apart from what it measured, and is never energy:

- glitch: readings that the next ones contradict; at most two in a row are left out;
- reset, jump, dip: the register goes on at another level (from near 0, as a new meter does; further
  up than the connection can carry; further down). What flowed between the two readings nobody
  knows: it is not billed, one message's worth at most.

A value that a source repeats is one value, the surer the longer it stood; of readings that come all
at once one counts.

Whether a step is a glitch or lasts is known when the level has been confirmed by a third reading;
until then the meter is known up to the reading before the step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Places = int | NDArray[np.intp]

LIMIT_KW = 20.0
"""Power that a home's connection carries for long; more than that in a step is a fault."""
# A fuse lets more through for a while, and registers are told in coarse steps.
_SURGE_S = 120.0
_LONGEST_GLITCH = 2
_STEP_COST = 2.5  # between a glitch of two readings, which is cheaper, and of three
_CONFIRMED_BY = 3
# A register's own step [kWh]; where the smallest seen is larger, it is consumption.
_COARSEST_KWH = 0.01
_TINY_KWH = 1e-9
# A reading that only repeats the last one because nothing came: gone where the next step is larger
# than a home of this power makes of it between two readings. No more than that is believed to have
# flowed in secret, for some hours; in days and weeks a home uses less.
_HELD_KW, _HELD_LONG_KW, _HELD_LONG_S = 7.0, 2.0, 4 * 3600.0
_HELD_LEAST_KWH = 0.02
# Readings that come so much faster than usual, and than any meter speaks, were held back somewhere.
_BURST, _BURST_S = 0.1, 5.0
# Bursts take no more than this share of the time, and do not count in how often a meter speaks.
_BURST_SHARE = 0.01
_LONGEST_CADENCE_S = 3600.0


@dataclass(frozen=True)
class Pieces:
    """(n,) pieces in order of time, none overlapping: ``begin``, ``end`` [s], ``kwh``.

    ``sure``: False where the energy is not what a meter counted from begin to end. ``reach_s``:
    how far a boundary may lie from a reading and count as measured; 0 where only a piece's own
    ends do. ``resolution_kwh``: the register's step. ``known_until``: up to when the meter can be
    believed by now [s]. ``doubts``: (time, words) of what was told apart.
    """

    begin: Floats
    end: Floats
    kwh: Floats
    sure: Mask
    reach_s: float
    resolution_kwh: float
    known_until: float
    doubts: tuple[tuple[float, str], ...] = field(default=())


def nothing() -> Pieces:
    """No pieces."""
    none = np.zeros(0)
    return Pieces(none, none, none, np.zeros(0, np.bool_), 0.0, 0.0, -math.inf)


def from_register(
    time: Floats, kwh: Floats, held: Mask | None = None, limit_kw: float = LIMIT_KW
) -> Pieces:
    """Pieces of a register: (n,) ``time`` [s], strictly increasing, and what it showed [kWh].

    ``held``: (n,) True where the value was repeated because nothing new came (a source that tells
    changes only).
    """
    if len(time) < 2:
        return nothing()
    held = np.zeros(len(time), np.bool_) if held is None else held
    cadence = _cadence(time[~held])
    spoken = _spoken(time, kwh, held, cadence)
    chosen, steps = _believed(spoken, limit_kw)
    known = _believed_until(spoken, chosen, steps)
    doubts = [
        (
            float(spoken.begin[i]),
            f"reading of {spoken.kwh[i]:.3f} kWh left out: contradicted by the next",
        )
        for i in np.setdiff1d(np.arange(len(spoken.begin)), chosen)
        if spoken.begin[i] <= known
    ]
    t, v, changed = _readings(spoken, chosen, steps, cadence)
    energy, sure = np.diff(v), ~changed
    energy[changed] = 0.0
    doubts += [
        (float(t[place + 1]), _words(v[place], v[place + 1]))
        for place in np.flatnonzero(changed).tolist()
        if t[place + 1] <= known
    ]
    steps_up = energy[sure & (energy > _TINY_KWH)]
    least = float(steps_up.min()) if len(steps_up) else 0.0
    resolution = min(least, _COARSEST_KWH)
    kwh = np.maximum(energy, 0.0)
    begin, end, energy, sure = _slowed(t[:-1], t[1:], kwh, sure, limit_kw, least)
    return Pieces(begin, end, energy, sure, 2 * cadence, resolution, known, tuple(sorted(doubts)))


def from_intervals(begin: Floats, end: Floats, kwh: Floats) -> Pieces:
    """Pieces of a meter that tells energy per interval: (n,) each, in order of ``begin``.

    A row that begins before the one before has ended is left out.
    """
    order = np.argsort(begin, kind="stable")
    begin, end, kwh = begin[order], end[order], kwh[order]
    keep, last = np.zeros(len(begin), np.bool_), -math.inf
    for i in range(len(begin)):
        if begin[i] >= last - 1e-6 and kwh[i] >= 0:
            keep[i], last = True, float(end[i])
    begin, end, kwh = begin[keep], end[keep], kwh[keep]
    known = float(end[-1]) if len(end) else -math.inf
    return Pieces(begin, end, kwh, np.ones(len(begin), np.bool_), 0.0, 0.0, known)


def from_power(time: Floats, kw: Floats, limit_kw: float = LIMIT_KW) -> Pieces:
    """Pieces of a power sensor: (n,) ``time`` [s] and power [kW], by the trapezoid rule.

    The other direction counts as 0. Where it was silent for more than three times its cadence there
    is no piece: what flowed then nobody knows.
    """
    keep = kw <= 4 * limit_kw
    time, kw = time[keep], np.maximum(kw[keep], 0.0)
    if len(time) < 2:
        return nothing()
    cadence = _cadence(time)
    span = np.diff(time)
    near = span <= 3 * cadence
    kwh = (kw[1:] + kw[:-1]) / 2 * span / 3600
    sure = np.ones(int(near.sum()), np.bool_)
    begin, end = time[:-1][near], time[1:][near]
    return Pieces(begin, end, kwh[near], sure, 3 * cadence, 0.0, float(time[-1]))


def _cadence(time: Floats) -> float:
    """How often a meter speaks [s]: the median distance of its readings, but of those that came all
    at once, which together are hardly any time."""
    if len(time) < 2:
        return _LONGEST_CADENCE_S
    apart = np.sort(np.minimum(np.diff(time), _LONGEST_CADENCE_S))
    told = np.cumsum(apart)
    return float(np.median(apart[told > _BURST_SHARE * told[-1]]))


@dataclass(frozen=True)
class _Spoken:
    """(n,) values [kWh] in the order in which they were told: first at ``begin``, repeated until
    ``end`` [s], ``count`` times in all."""

    begin: Floats
    end: Floats
    kwh: Floats
    count: NDArray[np.intp]


def _spoken(time: Floats, kwh: Floats, held: Mask, cadence_s: float) -> _Spoken:
    """What was told, with its repetitions; of each burst, whose stamps say nothing, one value."""
    real = ~held
    real[0] = True
    owner, first = np.cumsum(real) - 1, np.flatnonzero(real)
    begin, value = time[first], kwh[first]
    # A clock that is ahead of the source's repeats what has changed already.
    repeats = kwh == value[owner]
    end, count = begin.copy(), np.bincount(owner[repeats], minlength=len(first))
    np.maximum.at(end, owner[repeats], time[repeats])
    lasts = _bursts(begin, value, cadence_s)
    firsts, said = np.append(0, lasts[:-1] + 1), value[lasts]
    for place in np.flatnonzero(lasts > firsts).tolist():
        burst = value[firsts[place] : lasts[place] + 1]
        # The newest is the largest, which need not have come last, unless the register fell.
        quiet_s = begin[lasts[place]] - begin[max(firsts[place] - 1, 0)]
        said[place] = burst[burst <= said[place] + _most_held_kwh(cadence_s + quiet_s)].max()
    return _Spoken(begin[lasts], end[lasts], said, count[lasts])


def _bursts(time: Floats, kwh: Floats, cadence_s: float) -> NDArray[np.intp]:
    """Place of the last reading of each burst, which lasts no longer than two of a meter's usual
    pauses, and not beyond a reset; one that came alone is its own."""
    quick = np.diff(time) < min(_BURST * cadence_s, _BURST_S)
    last, first = np.append(~quick, True), 0
    for i in np.flatnonzero(quick).tolist():
        if i and last[i - 1]:
            first = i
        last[i] = time[i + 1] - time[first] > 2 * cadence_s or kwh[i + 1] < kwh[i] / 2
    return np.flatnonzero(last)


def _most_held_kwh(seconds: float) -> float:
    """More than that is not what a home uses in so many seconds."""
    return max(_HELD_LEAST_KWH, seconds * _HELD_KW / 3600)


def _readings(
    spoken: _Spoken, chosen: NDArray[np.intp], steps: Sequence[int], cadence_s: float
) -> tuple[Floats, Floats, Mask]:
    """(m,) times and values that are believed, and (m - 1,) where the level changed between two.

    A repetition is one where the next value says that nothing was missed.
    """
    begin, end, kwh = spoken.begin[chosen], spoken.end[chosen], spoken.kwh[chosen]
    changed = np.zeros(max(len(kwh) - 1, 0), np.bool_)
    changed[list(steps)] = True
    missed = np.append((np.diff(kwh) > _most_held_kwh(cadence_s)) | changed, False)
    kept = np.stack([np.ones(len(kwh), np.bool_), (end > begin) & ~missed], 1).ravel()
    time, value = np.stack([begin, end], 1).ravel()[kept], np.repeat(kwh, 2)[kept]
    after = np.repeat(np.append(changed, False), 2)
    # A change comes after the last reading of a value.
    after[::2] &= ~kept[1::2]
    return time, value, after[kept][:-1]


def _fits(spoken: _Spoken, i: Places, j: Places, limit_kw: float) -> Any:
    """Whether the step from value ``i`` to value ``j`` may be energy: no more than the connection
    carries since the first was told last, or a home uses while it was repeated."""
    since_told_s = spoken.begin[j] - spoken.end[i]
    span_s = spoken.begin[j] - spoken.begin[i]
    hours, days = np.minimum(span_s, _HELD_LONG_S), np.maximum(span_s - _HELD_LONG_S, 0.0)
    in_secret = _HELD_KW * hours + _HELD_LONG_KW * days
    most = np.maximum(limit_kw * (since_told_s + _SURGE_S), in_secret) / 3600
    step = spoken.kwh[j] - spoken.kwh[i]
    return (step >= -_TINY_KWH) & (step <= most)


def _believed(spoken: _Spoken, limit_kw: float) -> tuple[NDArray[np.intp], list[int]]:
    """Which values to believe, and after which of those the register went to another level.

    The cheapest story: a value left out costs 1 for each time it was told, as far as that confirms
    it, a change of level ``_STEP_COST``.
    """
    n = len(spoken.begin)
    places = np.arange(n)
    before = np.append(0.0, np.cumsum(np.minimum(spoken.count, _CONFIRMED_BY)))
    wrong = ~_fits(spoken, places[:-1], places[1:], limit_kw)
    if not wrong.any():
        return places, []
    cost, back, level = np.empty(n), np.full(n, -1), np.zeros(n, np.bool_)
    # Far from everything wrong there is nothing to weigh.
    near = np.zeros(n, np.bool_)
    for i in np.flatnonzero(wrong).tolist():
        near[max(i - _LONGEST_GLITCH, 0) : i + 2 * _LONGEST_GLITCH + 3] = True
    cost[0] = 0.0
    for i in range(1, n):
        if not near[i]:
            cost[i], back[i] = cost[i - 1], i - 1
            continue
        cost[i] = before[i] if i <= _LONGEST_GLITCH else math.inf
        for left_out in range(min(_LONGEST_GLITCH, i - 1) + 1):
            j = i - 1 - left_out
            fits = bool(_fits(spoken, j, i, limit_kw))
            total = cost[j] + before[i] - before[j + 1] + (0.0 if fits else _STEP_COST)
            if total < cost[i]:
                cost[i], back[i], level[i] = total, j, not fits
    ends = range(n - 1, max(n - 2 - _LONGEST_GLITCH, -1), -1)
    i = min(ends, key=lambda k: float(cost[k] + before[n] - before[k + 1]))
    chosen, steps = [i], [bool(level[i])]
    while back[i] >= 0:
        i = int(back[i])
        chosen.append(i)
        steps.append(bool(level[i]))
    chosen.reverse()
    steps.reverse()
    return np.array(chosen, dtype=np.intp), [k - 1 for k, up in enumerate(steps) if up]


def _believed_until(spoken: _Spoken, chosen: NDArray[np.intp], steps: Sequence[int]) -> float:
    """Time of the last reading that no later one can make doubtful."""
    last = len(chosen) - 1
    told = np.append(np.cumsum(spoken.count[chosen][::-1])[::-1], 0)
    for place in steps:
        if told[place + 1] < _CONFIRMED_BY:
            last = min(last, place)
    certain = last == len(chosen) - 1
    return float((spoken.end if certain else spoken.begin)[chosen[last]])


def _words(before: float, after: float) -> str:
    """What to say of a change of level."""
    if after < min(before / 2, 1.0):
        return f"register reset: {before:.3f} to {after:.3f} kWh"
    what = "jump" if after > before else "dip"
    return f"register {what} of {after - before:.3f} kWh refused"


def _slowed(
    begin: Floats, end: Floats, kwh: Floats, sure: Mask, limit_kw: float, step_kwh: float
) -> tuple[Floats, Floats, Floats, Mask]:
    """Join pieces with those before them until none carries more than the connection can.

    Readings that come in a burst after a silence are stamped at their arrival by some sources:
    their energy belongs to the silence. A register may move by ``step_kwh`` in no time at all.
    """

    def too_much(energy: float, span_s: float) -> bool:
        return energy > limit_kw * span_s / 3600 + step_kwh + _TINY_KWH

    if not (kwh > limit_kw * (end - begin) / 3600).any():
        return begin, end, kwh, sure
    stack: list[list[float]] = []
    for piece in np.stack([begin, end, kwh, sure], 1).tolist():
        stack.append(piece)
        while len(stack) > 1:
            (earlier, _, k0, s0), (middle, later, k1, s1) = stack[-2:]
            if not (too_much(k1, later - middle) or too_much(k0 + k1, later - earlier)):
                break
            stack[-2:] = [[earlier, later, k0 + k1, min(s0, s1)]]
    table = np.array(stack)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3] > 0
