"""Long series as fewer points: means over equal buckets of intervals."""

import numpy as np
from numpy.typing import NDArray

SIZES = (1, 2, 4, 6, 12, 24, 48, 96, 336)
"""Intervals per point: half an hour, 1, 2, 3, 6, 12 hours, a day, two days, a week."""


def bucket_size(intervals: int, points: int) -> int:
    """The smallest of ``SIZES`` that draws ``intervals`` with at most ``points`` points."""
    return next((size for size in SIZES if intervals <= size * points), SIZES[-1])


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
