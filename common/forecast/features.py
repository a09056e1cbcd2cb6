"""The 24 features of a half hour, in the order the models were specified with."""

import numpy as np
from numpy.typing import NDArray

from common.data.frame import APPLIANCES, BATTERY_SENSORS, COLUMNS
from common.forecast.history import History

PRICE_LAGS = 5
FEATURES = (
    *APPLIANCES,
    *BATTERY_SENSORS,
    "temperature",
    "solar_irradiance",
    "hour_sin",
    "hour_cos",
    "day_sin",
    "day_cos",
    "price_t0",
    *(f"price_t-{lag}" for lag in range(1, PRICE_LAGS)),
)

_MEASURED = [
    COLUMNS.index(name)
    for name in (*APPLIANCES, *BATTERY_SENSORS, "temperature", "solar_irradiance")
]


def feature_matrix(history: History, start: int, stop: int) -> NDArray[np.float64]:
    """Return (stop - start, 24) unscaled features of rows ``start`` to ``stop``.

    Row i holds readings of row i and prices of rows i to i-4; before the first row of the history
    its first price stands in. Nothing after row i is read.
    """
    measured = history.values[start:stop, _MEASURED]
    rows = np.arange(start, stop)[:, None] - np.arange(PRICE_LAGS)
    prices = history.price(0, stop)[np.maximum(rows, 0)]
    return np.concatenate([measured, history.calendar[start:stop], prices], axis=1)
