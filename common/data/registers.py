"""Meters that count: what they counted between one reading and the next.

Real registers fall. A value that dips or leaps for a few readings and comes back is a fault of
the reading and is left out; a register that begins again near zero was reset; a sensor that falls
again and again is a power and no register at all.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Floats, Ints, Mask
from common.errors import InputError

# A fall of less than this share, or this much, is no reset: rounding, or a correction.
_DIP_SHARE = 0.1
_DIP_KWH = 0.05
# A power falls at about half of its steps, a register reset every hour at one in a few.
_POWER_FALLS = 0.15
_FEW_FALLS = 0.1  # of its rises: fewer are those of a register
_RETURN_S = 24 * 3600  # a dip or leap is over within a day
# What a home's connection cannot carry: a register that rises faster had a false reading before.
_MOST_KW = 30.0


@dataclass(frozen=True)
class Steps:
    """What a register counted: (m,) from reading ``begin`` to reading ``end`` (indices)."""

    begin: Ints
    end: Ints
    kwh: Floats
    false_readings: int
    resets: int


class _FallError(Exception):
    """A fall that needs the user: where, and what to say."""

    def __init__(self, at: int, why: str) -> None:
        self.at = at
        self.why = why


def steps_of(time: Ints, kwh: Floats, place: list[str] | None, allow_resets: bool) -> Steps:
    """Return what a register counted between its readings.

    ``time``: (n,) seconds, strictly rising. ``kwh``: (n,) the register. ``place``: (n,) file and
    row of each reading for messages. With ``allow_resets`` a register that begins again counts on
    from zero, and one that was set back to another value counts on from there; what it counted
    around that moment is not known. Raises InputError at such a fall without it, and for a
    series that falls too often to be a register.
    """
    try:
        return _steps(time, kwh, allow_resets)
    except _FallError as fall:
        where = "" if place is None else f"{place[fall.at]}: "
        raise InputError(f"{where}{fall.why}") from None


def looks_like_a_register(time: Ints, kwh: Floats) -> bool:
    """Whether what is given as energy per interval is really a meter that counts up.

    Energy per interval falls about as often as it rises. A register rises for days on end and
    falls only to begin again near zero, or by a little.
    """
    if len(kwh) < 12 or time[-1] - time[0] < 86400 - 3600:
        return False
    step = np.diff(kwh)
    rises, falls = int((step > 0).sum()), np.flatnonzero(step < 0)
    if rises < 10 or len(falls) > _FEW_FALLS * rises:
        return False
    largest = float(step.max())
    restart = kwh[falls + 1] <= 3 * largest
    small = -step[falls] <= np.maximum(_DIP_SHARE * kwh[falls], _DIP_KWH)
    if not (restart | small).all():
        return False
    return bool(time[-1] - time[0] >= 2 * 86400 - 3600 or kwh[0] > 20 * largest)


def falls_like_a_power(value: Floats) -> bool:
    """Whether ``value`` (n,) falls at so many of its steps that it cannot count anything."""
    step = np.diff(value)
    return len(step) >= 3 and int((step < 0).sum()) > max(2, _POWER_FALLS * len(step))


def _steps(time: Ints, kwh: Floats, allow_resets: bool) -> Steps:
    if not (np.diff(kwh) < 0).any():
        every = np.arange(len(kwh), dtype=np.int64)
        return Steps(every[:-1], every[1:], np.diff(kwh), 0, 0)
    if falls_like_a_power(kwh):
        first = int(np.argmax(np.diff(kwh) < 0)) + 1
        falls = int((np.diff(kwh) < 0).sum())
        raise _FallError(
            first,
            f"the meter falls from {kwh[first - 1]:g} to {kwh[first]:g}, and at {falls} of its "
            f"{len(kwh) - 1} steps: no register. A power? '--unit W' or '--unit kW'",
        )
    keep = np.ones(len(kwh), dtype=np.bool_)
    new: list[int] = []  # readings at which the register begins anew
    at = 1
    high = 0  # the last reading kept
    while at < len(kwh):
        if kwh[at] >= kwh[high]:
            high = at
            at += 1
            continue
        after = _return(time, kwh, high, at)
        leap = _leap(time, kwh, keep, high, at)
        if leap is not None and (after is None or high - leap < after - at):
            keep[leap + 1 : high + 1] = False
            high = leap
            continue
        if after is not None:
            keep[at:after] = False
            at = after
            continue
        if not allow_resets:
            raise _FallError(at, _why(time, kwh, high, at))
        new.append(at)
        high = at
        at += 1
    kept = np.flatnonzero(keep)
    begin, end = kept[:-1], kept[1:]
    hours = (time[end] - time[begin]) / 3600.0
    fresh = np.isin(end, new)
    # Begun again near zero it has counted what it shows; set to another value, nobody knows.
    from_zero = (kwh[end] < (1 - _DIP_SHARE) * kwh[begin]) & (kwh[end] <= _MOST_KW * hours)
    gain = np.where(fresh, kwh[end], kwh[end] - kwh[begin])
    known = ~fresh | from_zero
    return Steps(begin[known], end[known], gain[known], int((~keep).sum()), len(new))


def _small(high: float, low: float) -> bool:
    return high - low <= max(_DIP_SHARE * high, _DIP_KWH)


def _return(time: Ints, kwh: Floats, high: int, at: int) -> int | None:
    """The reading at which the register is back where it was before it fell, if that is a fault.

    Climbing back by counting, as a daily register does, is none: the way back is one leap.
    """
    soon = np.searchsorted(time, time[high] + _RETURN_S, side="right")
    back = np.flatnonzero(kwh[at:soon] >= kwh[high])
    if not back.size:
        return None
    after = at + int(back[0])
    if _small(kwh[high], kwh[at:after].min()):
        return after
    leap = kwh[after] - kwh[after - 1]
    hours = (time[after] - time[after - 1]) / 3600.0
    abrupt = leap >= 0.5 * (kwh[high] - kwh[at]) and leap > _MOST_KW * hours
    return after if abrupt else None


def _leap(time: Ints, kwh: Floats, keep: Mask, high: int, at: int) -> int | None:
    """The reading before one to three that are too high, where the register goes on afterwards."""
    before = high
    for _ in range(3):
        last = before
        before -= 1
        while before >= 0 and not keep[before]:
            before -= 1
        if before < 0 or time[high] - time[before] > _RETURN_S:
            return None
        if kwh[before] <= kwh[at]:
            rise, hours = kwh[last] - kwh[before], (time[last] - time[before]) / 3600.0
            gone = kwh[at] - kwh[before] <= 0.5 * rise
            stays = at + 1 < len(kwh) and not (kwh[at : at + 3] < kwh[before]).any()
            small = _small(kwh[high], kwh[at])
            return before if stays and gone and (small or rise > _MOST_KW * hours) else None
    return None


def _why(time: Ints, kwh: Floats, high: int, at: int) -> str:
    fall = f"the meter falls from {kwh[high]:g} to {kwh[at]:g}"
    soon = np.searchsorted(time, time[high] + _RETURN_S, side="right")
    if (kwh[at:soon] >= kwh[high]).any() and at + 1 < len(kwh):
        later = at + 1 + int(np.argmax(kwh[at + 1 : soon] >= kwh[high]))
        if later - at <= 3:
            return (
                f"{fall} and reads {kwh[later]:g} soon after: a false reading (delete its row) "
                "or a reset ('--allow-resets' counts on from zero)?"
            )
    if _small(kwh[high], kwh[at]):
        return (
            f"{fall} and does not come back: was it set back or replaced? '--allow-resets' counts "
            "on from there"
        )
    return f"{fall}: a reset? '--allow-resets' counts on from zero"
