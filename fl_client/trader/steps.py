"""The steps of a plan: the interval that is traded, then half hours of the clock.

A plan over a day in quarter hours or less would cost several times as much and know nothing more:
what the next hours bring is not known to five minutes. So only the interval that is traded keeps
its own length; what is left of its half hour is one step, and every half hour after it one each.
Intervals of half an hour and longer are their own steps.
"""

from typing import NamedTuple

import numpy as np

from common.arrays import Floats, Ints

HALF_HOUR_H = 0.5


class Steps(NamedTuple):
    """``begin`` (K,): at which of the planned intervals each step begins, the current one being 0.

    ``length`` (K,): of each step, in units of ``hours``: half an hour, or an interval where that
    is longer.
    """

    begin: Ints
    length: Floats
    hours: float

    def total(self, values: Floats) -> Floats:
        """Energies (..., N) of the intervals -> of the steps (..., K)."""
        if values.shape[-1] == len(self.begin):
            return values
        return np.ascontiguousarray(np.add.reduceat(values, self.begin, axis=-1))

    def mean(self, values: Floats) -> Floats:
        """Prices (..., N) of the intervals -> of the steps (..., K)."""
        if values.shape[-1] == len(self.begin):
            return values
        counts = np.diff(np.append(self.begin, values.shape[-1]))
        return np.ascontiguousarray(self.total(values) / counts)


def steps_of(slot: int, intervals: int, hours: float) -> Steps:
    """The steps of a plan of so many ``intervals`` of ``hours``; ``slot``: that of the first one,
    counted from a full hour."""
    finer = round(HALF_HOUR_H / hours)
    if finer <= 1:
        return Steps(np.arange(intervals), np.ones(intervals), hours)
    rest = finer - slot % finer  # of the current half hour, this interval included
    half_hours = np.arange(rest, intervals, finer)
    begin = np.concatenate([[0], [1] if min(rest, intervals) > 1 else [], half_hours])
    begin = begin.astype(np.int64)
    return Steps(begin, np.diff(np.append(begin, intervals)) / finer, HALF_HOUR_H)
