"""Long series as fewer points: means over equal buckets of intervals."""

import numpy as np
from numpy.typing import NDArray

SIZES = (1, 2, 4, 6, 12, 24, 48, 96, 336)
"""Intervals per point: half an hour, 1, 2, 3, 6, 12 hours, a day, two days, a week."""
DAILY = (1, 2, 48, 336)
"""The same where the whole run is seen at once: many days of parts of days are only a comb."""


def bucket_size(intervals: int, points: int, sizes: tuple[int, ...] = SIZES) -> int:
    """The smallest of ``sizes`` that draws ``intervals`` with at most ``points`` points.

    The largest of them where none does.
    """
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
