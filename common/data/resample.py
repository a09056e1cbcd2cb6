"""Readings of any length onto the half-hour grid, without losing or inventing energy."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Floats, Ints

HALF_HOUR_S = 1800


@dataclass(frozen=True)
class Grid:
    """``total``: (m,) sum of what fell into each half hour; ``covered``: (m,) seconds of it.

    ``first``: number of the first half hour since 1970 (UTC).
    """

    first: int
    total: Floats
    covered: Floats


def spread(start: Ints, seconds: Ints, value: Floats) -> Grid:
    """Spread each ``value`` evenly over ``[start, start + seconds)`` and sum per half hour.

    start, seconds, value: (n,), n >= 1, seconds >= 1. The sum of ``total`` equals the sum of
    ``value`` up to rounding.
    """
    first = int(start.min() // HALF_HOUR_S)
    size = int((start + seconds - 1).max() // HALF_HOUR_S) - first + 1
    slot = start // HALF_HOUR_S - first
    offset = start % HALF_HOUR_S
    total = np.zeros(size)
    covered = np.zeros(size)
    # Step k holds the part of a reading that lies in the k-th half hour it touches.
    for step in range(int((offset + seconds - 1).max() // HALF_HOUR_S) + 1):
        begin = np.maximum(offset, step * HALF_HOUR_S)
        end = np.minimum(offset + seconds, (step + 1) * HALF_HOUR_S)
        inside = end > begin
        overlap = (end - begin)[inside].astype(np.float64)
        at = slot[inside] + step
        share = overlap / seconds[inside]
        total += np.bincount(at, value[inside] * share, minlength=size)
        covered += np.bincount(at, overlap, minlength=size)
    return Grid(first, total, covered)


def to_utc(wall: Ints, timezone: str) -> tuple[Ints, NDArray[np.bool_]]:
    """Return UTC seconds of wall-clock seconds in file order, and which stamps exist.

    When the clock is set back, a stamp seen for the first time is the earlier of the two it may
    mean, seen again the later. When it is set forward, stamps of the hour left out do not exist.
    """
    naive = pd.DatetimeIndex(wall.astype("datetime64[s]"))
    first_time = ~naive.duplicated()
    local = naive.tz_localize(timezone, ambiguous=first_time, nonexistent="NaT")
    exists = ~np.asarray(local.isna())
    utc = np.zeros(len(wall), dtype=np.int64)
    utc[exists] = local[exists].tz_convert("UTC").as_unit("s").asi8
    return utc, exists


def fill_gaps(value: Floats, known: NDArray[np.bool_]) -> Floats:
    """Return ``value`` with unknown half hours filled from the past only.

    The mean of the same half hour on those of the last seven days that were measured; without any,
    the latest measured value before the gap; without that, 0.
    """
    size = len(value)
    day = 48
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
