"""Readings of any length onto the grid of a home's rows, without losing or inventing energy."""

import re
from dataclasses import dataclass
from datetime import timedelta, timezone

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints, Mask
from common.cadence import HALF_HOUR
from common.data.frame import check_zone
from common.errors import InputError

HALF_HOUR_S = HALF_HOUR.seconds
# A download joined with itself a few times turns back so often; more is no order at all.
_MOST_TURNS = 7
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d\d)?")


@dataclass(frozen=True)
class Grid:
    """``total``: (m,) sum of what fell into each row; ``covered``: (m,) seconds of it.

    ``first``: number of the first row since 1970 (UTC).
    """

    first: int
    total: Floats
    covered: Floats


def spread(start: Ints, seconds: Ints, value: Floats, row_s: int = HALF_HOUR_S) -> Grid:
    """Spread each ``value`` evenly over ``[start, start + seconds)`` and sum per row of ``row_s``.

    start, seconds, value: (n,), n >= 1, seconds >= 1. The sum of ``total`` equals the sum of
    ``value`` up to rounding.
    """
    first = int(start.min() // row_s)
    size = int((start + seconds - 1).max() // row_s) - first + 1
    slot = start // row_s - first
    offset = start % row_s
    total = np.zeros(size)
    covered = np.zeros(size)
    # Step k holds the part of a reading that lies in the k-th row it touches.
    for step in range(int((offset + seconds - 1).max() // row_s) + 1):
        begin = np.maximum(offset, step * row_s)
        end = np.minimum(offset + seconds, (step + 1) * row_s)
        inside = end > begin
        overlap = (end - begin)[inside].astype(np.float64)
        at = slot[inside] + step
        share = overlap / seconds[inside]
        total += np.bincount(at, value[inside] * share, minlength=size)
        covered += np.bincount(at, overlap, minlength=size)
    return Grid(first, total, covered)


def clock_zone(clock: str) -> str | timezone:
    """Return what pandas localises with for an IANA zone, ``UTC`` or an offset such as +10:00.

    Raises InputError for anything else.
    """
    offset = _OFFSET.fullmatch(clock.strip())
    if offset is None:
        return check_zone(clock)
    if int(offset[2]) > 14:
        raise InputError(f"clock {clock!r}: an offset has at most 14 hours")
    sign = -1 if offset[1] == "-" else 1
    return timezone(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0)))


def fixed_zone(clock: str) -> str:
    """Return the zone of a fixed offset of whole hours; UTC for one of minutes."""
    zone = clock_zone(clock)
    shift = None if isinstance(zone, str) else zone.utcoffset(None)
    hours = 0.0 if shift is None else shift.total_seconds() / 3600
    return f"Etc/GMT{-int(hours):+d}" if hours.is_integer() and hours else "UTC"


def to_utc(wall: Ints, clock: str, file: Ints | None = None) -> tuple[Ints, Mask, Mask]:
    """Return UTC seconds of the seconds a clock shows, which exist, and which are ambiguous.

    When the clock is set back, a stamp of the hour shown twice is of its second time where the
    stamps have gone back before, within each ``file`` (n,) by itself. When it is set forward,
    stamps of the hour left out do not exist.
    """
    zone = clock_zone(clock)
    none = np.zeros(len(wall), dtype=np.bool_)
    if not isinstance(zone, str):
        shift = zone.utcoffset(None)
        assert shift is not None
        return wall - int(shift.total_seconds()), ~none, none
    naive = pd.DatetimeIndex(wall.astype("datetime64[s]"))
    earlier = naive.tz_localize(zone, ambiguous=~none, nonexistent="NaT")
    exists = ~np.asarray(earlier.isna())
    later = naive.tz_localize(zone, ambiguous=none, nonexistent="NaT")
    utc, after = (
        np.where(exists, t.tz_convert("UTC").as_unit("s").asi8, 0) for t in (earlier, later)
    )
    ambiguous = utc != after
    again = np.flatnonzero(ambiguous)
    if again.size:
        files = np.zeros(len(wall), dtype=np.int64) if file is None else file
        hour = np.stack([files[again], wall[again] // 86400])  # each file, each change of the clock
        _, group = np.unique(hour, axis=1, return_inverse=True)
        group = group.reshape(-1)  # numpy 2.0 gives it an axis more
        for number in range(int(group.max()) + 1):
            mine = again[group == number]
            # A file joined with itself comes to the hour several times.
            visits = np.split(mine, np.flatnonzero(np.diff(mine) > 1) + 1)
            for rows in visits if len(visits) <= _MOST_TURNS else [mine]:
                second = rows[_second_time(wall[rows])]
                utc[second] = after[second]
    return utc, exists, ambiguous


def _second_time(wall: Ints) -> Mask:
    """(n,) True for stamps of the hour shown twice that are of its second time, in file order.

    Where the stamps go back the other time begins. Where they never do, a file was sorted by stamp:
    then equal stamps are the two times in turn, and so they are where rows stand in no order.
    """
    back = np.concatenate([[0], np.cumsum(np.diff(wall) < 0)])
    if 0 < back[-1] <= _MOST_TURNS:
        return np.asarray(back % 2 == 1)
    seen: dict[int, int] = {}
    second = np.zeros(len(wall), dtype=np.bool_)
    for at, stamp in enumerate(wall.tolist()):
        second[at] = seen.get(stamp, 0) % 2 == 1
        seen[stamp] = seen.get(stamp, 0) + 1
    return second


def fill_gaps(value: Floats, known: Mask, day: int = HALF_HOUR.per_day) -> Floats:
    """Return ``value`` with unknown intervals, ``day`` of them a day, filled from the past only.

    The mean of the same interval on those of the last seven days that were measured; without any,
    the latest measured value before the gap; without that, 0.
    """
    size = len(value)
    total = np.zeros(size)
    count = np.zeros(size)
    measured = np.where(known, value, 0.0)
    for back in range(day, 7 * day + 1, day):
        if back < size:
            total[back:] += measured[:-back]
            count[back:] += known[:-back]
    latest = np.maximum.accumulate(np.where(known, np.arange(size), -1))
    held = np.where(latest >= 0, value[np.clip(latest, 0, None)], 0.0)
    mean = np.divide(total, count, out=held.copy(), where=count > 0)
    return np.where(known, value, mean)
