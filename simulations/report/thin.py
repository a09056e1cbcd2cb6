"""Long series as fewer points: means over equal buckets of intervals."""

import numpy as np
from numpy.typing import NDArray

from common.cadence import Cadence

SIZES_H = (0.5, 1, 2, 3, 6, 12, 24, 48, 168)
"""Hours per point: up to a week."""
DAILY_H = (0.5, 1, 24, 168)
"""The same where the whole run is seen at once: many days of parts of days are only a comb."""


def bucket_size(
    intervals: int, points: int, cadence: Cadence, sizes_h: tuple[float, ...] = SIZES_H
) -> int:
    """How many intervals make a point: one, or the fewest of ``sizes_h`` hours that draw
    ``intervals`` with at most ``points`` points.

    The most of them where none does.
    """
    sizes = [1, *(cadence.of_hours(hours) for hours in sizes_h if hours > cadence.hours)]
    return next((size for size in sizes if intervals <= size * points), sizes[-1])


def bucket_mean(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Mean of each bucket of ``size`` along the last axis, without nan; all nan gives nan.

    The last bucket may hold fewer: (..., T) -> (..., ceil(T / size)).
    """
    total, present = bucket_sum(values, size), bucket_sum(np.isfinite(values) * 1.0, size)
    mean: NDArray[np.float64] = np.divide(
        total, present, out=np.full(total.shape, np.nan), where=present > 0
    )
    return mean


def bucket_sum(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sum of each bucket of ``size`` along the last axis; nan counts as zero."""
    starts = np.arange(0, values.shape[-1], size)
    if not len(starts):
        return values.copy()
    totals: NDArray[np.float64] = np.add.reduceat(
        np.where(np.isfinite(values), values, 0.0), starts, axis=-1
    )
    return totals
