"""Small random homes for the forecast tests."""

import numpy as np
import pandas as pd

from common.data.frame import COLUMNS, IDLE_BATTERY
from common.forecast.history import History


def home(days: int, seed: int = 0, timezone: str = "Europe/London", scale: float = 1.0) -> History:
    """A home whose load has a daily shape, with noise, and a two-level tariff."""
    rng = np.random.default_rng(seed)
    rows = days * 48
    slot = np.arange(rows) % 48
    values = np.zeros((rows, len(COLUMNS)))
    shape = 0.2 + 0.15 * np.sin((slot - 20) / 48 * 2 * np.pi)
    values[:, COLUMNS.index("misc")] = scale * shape * rng.gamma(2.0, 0.5, rows)
    values[:, COLUMNS.index("fridge")] = scale * 0.03
    values[:, COLUMNS.index("temperature")] = 10 + 5 * rng.standard_normal(rows)
    values[:, COLUMNS.index("price")] = np.where((slot >= 32) & (slot < 40), 0.4, 0.2)
    for name, value in IDLE_BATTERY.items():
        values[:, COLUMNS.index(name)] = value
    index = pd.date_range("2021-03-01", periods=rows, freq="30min", tz="UTC")
    return History(values, index, timezone)
