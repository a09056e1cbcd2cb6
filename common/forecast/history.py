"""A household's past, as the arrays a forecaster may read, and the calendar ahead of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Floats, Ints
from common.data.frame import APPLIANCES, COLUMNS, Household
from common.energy.pv import clear_sky
from common.errors import InputError
from common.forecast.daylight import daylight

CALENDAR_AHEAD = 1440
"""Steps of calendar kept beyond the last row: the longest horizon."""

_PV = COLUMNS.index("pv")
_PRICE = COLUMNS.index("price")
_TEMPERATURE = COLUMNS.index("temperature")


@lru_cache(maxsize=64)
def _calendar(start: pd.Timestamp, rows: int, timezone: str) -> NDArray[np.float32]:
    # Shared by all households of one clock; wall-clock time, so summer time moves the slots.
    index = pd.date_range(start, periods=rows, freq="30min").tz_convert(timezone)
    hour = (index.hour + index.minute / 60.0).to_numpy() / 24.0 * 2.0 * np.pi
    day = index.day_of_week.to_numpy() / 7.0 * 2.0 * np.pi
    calendar = np.stack([np.sin(hour), np.cos(hour), np.sin(day), np.cos(day)], axis=1)
    calendar = calendar.astype(np.float32)
    calendar.flags.writeable = False
    return calendar


@lru_cache(maxsize=64)
def _clock_shift(start: pd.Timestamp, rows: int, timezone: str) -> NDArray[np.int64]:
    utc = pd.date_range(start, periods=rows, freq="30min")
    ahead = utc.tz_convert(timezone).tz_localize(None) - utc.tz_localize(None)
    shift = np.rint(ahead.total_seconds().to_numpy() / 1800.0).astype(np.int64)
    shift.flags.writeable = False
    return shift


@lru_cache(maxsize=64)
def _daylight(start: pd.Timestamp, rows: int, timezone: str) -> NDArray[np.float32]:
    light = daylight(pd.date_range(start, periods=rows, freq="30min"), timezone)
    light.flags.writeable = False
    return light


@lru_cache(maxsize=64)
def _clear_sky(start: pd.Timestamp, rows: int, timezone: str) -> Floats:
    sky = np.nan_to_num(clear_sky(pd.date_range(start, periods=rows, freq="30min"), timezone))
    sky.flags.writeable = False
    return sky


@dataclass(eq=False)
class History:
    """Readings of one household by half hour.

    ``values`` is (T, 17) in the order of ``COLUMNS``, in the units of the household frame;
    ``index`` is the UTC start of each row. When a decision is made for row t, only the rows
    before ``known`` <= t may be read: whoever reads is told ``known`` and keeps to it. Rows from
    ``known`` on may hold anything, the future included. ``lags`` (T,): by how many rows the newest
    reading lags when a row is decided; 0 where it is not given.
    """

    values: Floats
    index: pd.DatetimeIndex
    timezone: str
    lags: Ints | None = None

    def __post_init__(self) -> None:
        if self.lags is None:
            self.lags = np.zeros(len(self.index), np.int64)
        if self.values.shape != (len(self.index), len(COLUMNS)):
            raise InputError(
                f"history of shape {self.values.shape} does not have "
                f"{len(self.index)} rows and {len(COLUMNS)} columns"
            )
        if len(self.index) == 0:
            raise InputError("a history needs at least one row")

    def __len__(self) -> int:
        return len(self.index)

    @property
    def calendar(self) -> NDArray[np.float32]:
        """(T + 1440, 4): hour_sin, hour_cos, day_sin, day_cos in the household's own time."""
        return _calendar(self.index[0], len(self.index) + CALENDAR_AHEAD, self.timezone)

    @property
    def daylight(self) -> NDArray[np.float32]:
        """(T + 1440, 2): brightness and length of day, known for ever; see ``daylight.py``."""
        return _daylight(self.index[0], len(self.index) + CALENDAR_AHEAD, self.timezone)

    @property
    def clock_shift(self) -> NDArray[np.int64]:
        """(T + 1440,): half hours by which the household's clock is ahead of UTC."""
        return _clock_shift(self.index[0], len(self.index) + CALENDAR_AHEAD, self.timezone)

    @property
    def clear_sky(self) -> Floats:
        """(T,): clear-sky irradiance [W/m2]; zeros for a home without PV, whom it tells nothing."""
        if not (self.pv(0, len(self)) > 0).any():
            return np.zeros(len(self))
        return _clear_sky(self.index[0], len(self), self.timezone)

    def consumption(self, start: int, stop: int) -> Floats:
        """Return (stop - start,) kWh: the sum of the nine appliances."""
        total: Floats = self.values[start:stop, : len(APPLIANCES)].sum(axis=1)
        return total

    def pv(self, start: int, stop: int) -> Floats:
        """Return (stop - start,) kWh made by solar panels."""
        return self.values[start:stop, _PV]

    def price(self, start: int, stop: int) -> Floats:
        """Return (stop - start,) retail price per kWh."""
        return self.values[start:stop, _PRICE]

    def charge(self, all_in: Callable[[Floats], Floats]) -> None:
        """Make its prices what the household pays, by a function of energy prices."""
        self.values[:, _PRICE] = all_in(self.values[:, _PRICE])

    def temperature(self, start: int, stop: int) -> Floats:
        """Return (stop - start,) outdoor temperature in degC."""
        return self.values[start:stop, _TEMPERATURE]


def history_of(household: Household) -> History:
    """Return a household's readings as the arrays a forecaster reads."""
    frame = household.frame[list(COLUMNS)]
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)  # the canonical frame has checked it
    values = frame.to_numpy(dtype=float)
    return History(values, index, household.timezone, household.lags(len(index)))
