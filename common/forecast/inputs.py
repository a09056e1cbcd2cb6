"""What a model reads of a history: a block of past rows in the household's own units."""

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.forecast.features import feature_matrix
from common.forecast.history import History
from common.forecast.presets import Preset
from common.forecast.scalers import Scaler
from common.forecast.streams import SLOTS

Block = NDArray[np.float32]

SLOT_CHANNELS = ("consumption", "price", "temperature")
_TEMPERATURE_UNIT = 10.0


def past_block(history: History, scaler: Scaler, preset: Preset, start: int, stop: int) -> Block:
    """Return what ``preset`` reads of rows ``start`` to ``stop``: (stop - start, channels).

    Rows before the history began (``start`` may be negative) repeat its first day, slot by slot,
    which is legal for any origin that has a day of history. ``window``: the 24 features, scaled.
    ``slot``: load and price over the household's target scale, temperature in units of 10 degC.
    """
    if stop < SLOTS:
        raise InputError(f"a forecast needs {SLOTS} half hours of history, got {stop}")
    rows = np.arange(start, stop)
    rows = np.where(rows < 0, rows % SLOTS, rows)
    low = int(rows.min())
    if preset.family == "window":
        return scaler.features(feature_matrix(history, low, stop))[rows - low]
    block = np.stack(
        [
            history.consumption(low, stop) / scaler.target_scale[0],
            history.price(low, stop) / scaler.target_scale[1],
            history.temperature(low, stop) / _TEMPERATURE_UNIT,
        ],
        axis=1,
    )
    return block[rows - low].astype(np.float32)


def target_units(scaler: Scaler, preset: Preset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (offset (2,), unit (2,)) of consumption and price: value = offset + unit * output."""
    if preset.family == "window":
        return scaler.target_mean, scaler.target_scale
    return np.zeros_like(scaler.target_mean), scaler.target_scale
