"""Rows of one length as rows of another: what is stored of a home at the intervals of a run.

Of longer rows energies are summed and levels averaged. A row is taken as even over its time, so
shorter rows get equal parts of its energy and the same levels. When such a part is known is not
said here: ``Household.known`` counts the source's own readings.
"""

import math

import numpy as np

from common.arrays import Floats


def regrid(values: Floats, minutes: int, new_minutes: int, skip: int, how: str) -> Floats:
    """Values of rows of ``minutes`` as those of rows of ``new_minutes``, along the first axis.

    values: (T, ...); the result begins ``skip`` minutes into row 0 and holds whole rows only.
    ``how``: ``energy`` (sums are kept), ``level`` (means over time), or ``state`` (what holds at a
    row's end).
    """
    common = math.gcd(minutes, new_minutes, skip)
    if (minutes, skip) == (new_minutes, 0):
        return values
    parts, pool = minutes // common, new_minutes // common
    fine = np.repeat(values / parts if how == "energy" else values, parts, axis=0)
    fine = fine[skip // common :]
    count = len(fine) // pool
    pooled = fine[: count * pool].reshape(count, pool, *values.shape[1:])
    if how == "energy":
        return np.ascontiguousarray(pooled.sum(axis=1))
    return np.ascontiguousarray(pooled.mean(axis=1) if how == "level" else pooled[:, -1])
