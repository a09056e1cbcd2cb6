"""What a model reads of a history: a block of past rows in the household's own units."""

import numpy as np
from numpy.typing import NDArray

from common.forecast.features import feature_matrix
from common.forecast.history import History
from common.forecast.presets import Preset
from common.forecast.scalers import Scaler
from common.forecast.streams import SLOTS

Block = NDArray[np.float32]
Rows = NDArray[np.int64]

SLOT_CHANNELS = ("consumption", "price", "temperature")
AHEAD = 6
_TEMPERATURE_UNIT = 5.0


def past_block(history: History, scaler: Scaler, preset: Preset, rows: Rows) -> Block:
    """Return what ``preset`` reads of these rows, (n,): (n, channels).

    Negative rows, before the history began, repeat its first day, slot by slot,
    which is legal for any origin that has a day of history. ``window``: the 24 features, scaled.
    ``slot``: load and price over the household's target scale, temperature in units of 5 degC.
    """
    rows = np.where(rows < 0, rows % SLOTS, rows)
    low, stop = int(rows.min()), int(rows.max()) + 1
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


def wall_clock_rows(shift: Rows, origins: Rows, lookback: int) -> Rows:
    """Return (B, lookback) rows before each origin, (B,), at the origin's wall clock.

    ``shift`` is ``History.clock_shift``. After a change to or from summer time habits keep to the
    clock, so an older row is taken from where the clock showed the same hour. A row that would lie
    at or after the origin is taken a day earlier. Rows may be up to two below the first.
    """
    rows = origins[:, None] + np.arange(-lookback, 0)
    moved = rows + shift[origins][:, None] - shift[np.maximum(rows, 0)]
    aligned: Rows = np.where(moved >= origins[:, None], moved - SLOTS, moved)
    return aligned


def mirrored_rows(shift: Rows, origins: Rows, lookback: int) -> Rows:
    """Return (B, lookback) rows of the days after each origin's day, the nearest day last.

    They stand for ``wall_clock_rows`` in a training window that is read backwards in days; each day
    runs forwards. A row that would lie within the day at the origin is taken a day later.
    """
    days = np.arange(lookback // SLOTS, 0, -1)[:, None] * SLOTS
    rows = origins[:, None] + (days + np.arange(SLOTS)).ravel()
    moved = rows + shift[origins][:, None] - shift[np.minimum(rows, len(shift) - 1)]
    aligned: Rows = np.where(moved < origins[:, None] + SLOTS, moved + SLOTS, moved)
    return aligned


def ahead_block(
    calendar: Block,
    daylight: Block,
    shift: Rows,
    origins: Rows,
    steps: Rows,
    mirrored: NDArray[np.bool_] | None = None,
) -> Block:
    """Return (6, n, B): calendar of the steps ahead, and their daylight against two weeks before.

    ``calendar`` (4, T) and ``daylight`` (2, T) are those of ``History``, by channel.
    The last two channels are the change of brightness and of day length from the same wall clock
    14 days before the day of the origin, which is the mean age of the lags that models read; where
    ``mirrored`` (B,) is True, from 14 days after it.
    """
    rows = origins + steps[:, None]
    away = np.full(len(origins), 14) if mirrored is None else np.where(mirrored, -14, 14)
    before = np.clip(origins - away * SLOTS, 0, len(shift) - 1)
    moved = shift[origins] - shift[before]
    then = (origins - away * SLOTS + moved) + (steps % SLOTS)[:, None]
    np.clip(then, 0, daylight.shape[1] - 1, out=then)
    block = np.empty((AHEAD, len(steps), len(origins)), np.float32)
    np.take(calendar, rows, axis=1, out=block[:4], mode="clip")  # "clip" writes in place
    np.subtract(daylight.take(rows, 1), daylight.take(then, 1), out=block[4:])
    return block


def target_units(scaler: Scaler, preset: Preset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (offset (2,), unit (2,)) of consumption and price: value = offset + unit * output."""
    if preset.family == "window":
        return scaler.target_mean, scaler.target_scale
    return np.zeros_like(scaler.target_mean), scaler.target_scale
