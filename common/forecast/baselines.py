"""Forecasts anyone can make: the bar a model has to pass. All read rows before the origin only."""

import numpy as np

from common.arrays import Floats
from common.errors import InputError
from common.forecast.streams import SLOTS


def _same_slot(past: Floats, horizon: int, days: int) -> Floats:
    """(..., days, horizon): the values of the same slot 1..days days before the day of origin.

    Steps past the first day repeat it: day k ahead still looks at the days before the origin.
    """
    if past.shape[-1] < days * SLOTS:
        raise InputError(f"baseline: needs {days} days of history, got {past.shape[-1] / SLOTS:g}")
    recent = past[..., -days * SLOTS :].reshape(*past.shape[:-1], days, SLOTS)
    return recent[..., np.arange(horizon) % SLOTS]


def last_day(past: Floats, horizon: int) -> Floats:
    """Repeat the last 48 values: (..., T) -> (..., horizon)."""
    return _same_slot(past, horizon, 1)[..., 0, :]


def weekly_naive(past: Floats, horizon: int) -> Floats:
    """Repeat the last 336 values: (..., T) -> (..., horizon)."""
    week = 7 * SLOTS
    if past.shape[-1] < week:
        raise InputError(f"baseline: needs 7 days of history, got {past.shape[-1] / SLOTS:g}")
    return past[..., -week:][..., np.arange(horizon) % week]


def mean_7_days(past: Floats, horizon: int) -> Floats:
    """Mean of the same slot over the last 7 days: (..., T) -> (..., horizon)."""
    return np.asarray(_same_slot(past, horizon, 7).mean(axis=-2))


BASELINES = {"last_day": last_day, "weekly_naive": weekly_naive, "mean_7_days": mean_7_days}
