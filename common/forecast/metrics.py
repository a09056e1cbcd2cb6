"""How good a forecast is. All take (..., n) arrays and reduce every axis; nan actuals are left out.

``nrmse`` and ``bias`` are relative to the mean of the actual values, ``mase`` to the mean absolute
error of the weekly naive forecast over the training span (Hyndman and Koehler 2006).
"""

import numpy as np
from numpy.typing import ArrayLike

from common.arrays import Floats
from common.forecast.streams import SLOTS


def _pair(forecast: ArrayLike, actual: ArrayLike) -> tuple[Floats, Floats]:
    f, a = np.broadcast_arrays(np.asarray(forecast, float), np.asarray(actual, float))
    seen = ~np.isnan(a)
    return f[seen], a[seen]


def _ratio(value: float, scale: float) -> float:
    # A home without load has no relative error: nan says so, and means leave it out.
    return value / scale if scale > 0 else float("nan")


def mae(forecast: ArrayLike, actual: ArrayLike) -> float:
    """Mean absolute error, in the unit of the values."""
    f, a = _pair(forecast, actual)
    return float(np.abs(f - a).mean())


def rmse(forecast: ArrayLike, actual: ArrayLike) -> float:
    """Root of the mean squared error, in the unit of the values."""
    f, a = _pair(forecast, actual)
    return float(np.sqrt(np.square(f - a).mean()))


def nrmse(forecast: ArrayLike, actual: ArrayLike) -> float:
    """RMSE over the mean of the actual values; nan where that is not positive."""
    return _ratio(rmse(forecast, actual), float(np.nanmean(np.asarray(actual, float))))


def bias(forecast: ArrayLike, actual: ArrayLike) -> float:
    """Mean of forecast - actual over the mean of the actual values; nan where not positive."""
    f, a = _pair(forecast, actual)
    return _ratio(float((f - a).mean()), float(a.mean()))


def weekly_naive_scale(training: ArrayLike) -> float:
    """Mean absolute change against the same half hour a week before, over (T,) training values."""
    values = np.asarray(training, float)
    change = np.abs(values[7 * SLOTS :] - values[: -7 * SLOTS])
    return float(np.nanmean(change)) if len(change) else float("nan")


def mase(forecast: ArrayLike, actual: ArrayLike, scale: float) -> float:
    """MAE over ``weekly_naive_scale`` of the training span; nan where that is not positive."""
    return _ratio(mae(forecast, actual), scale)


def pinball(quantiles: ArrayLike, actual: ArrayLike, levels: ArrayLike) -> float:
    """Mean quantile loss of (..., Q, n) quantile forecasts at ``levels`` (Q,) against (..., n)."""
    a = np.asarray(actual, float)[..., None, :]
    tau = np.asarray(levels, float)[:, None]
    error = a - np.asarray(quantiles, float)
    return float(np.nanmean(np.maximum(tau * error, (tau - 1.0) * error)))


def coverage(low: ArrayLike, high: ArrayLike, actual: ArrayLike) -> float:
    """Share of the actual values within [low, high]."""
    a = np.asarray(actual, float)
    inside = (a >= np.asarray(low, float)) & (a <= np.asarray(high, float))
    return float(inside[~np.isnan(a)].mean())
