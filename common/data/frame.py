"""The canonical household frame: what every source delivers and everything else reads.

One row per interval, half an hour unless an import asked for another length, labelled by its UTC
start, without gaps; energy in kWh per interval, prices in currency per kWh. A household whose
export has prices of its own has the column ``export_price`` as well, after the others.
"""

import math
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Ints
from common.cadence import HALF_HOUR, Cadence
from common.data.prices import check_prices
from common.data.regrid import regrid
from common.errors import InputError

APPLIANCES = (
    "fridge",
    "washing_machine",
    "dishwasher",
    "ev_charging",
    "ac",
    "stove",
    "water_heater",
    "computers",
    "misc",
)
BATTERY_SENSORS = ("battery_soc", "battery_soh", "battery_charge", "battery_cycles")
COLUMNS = (*APPLIANCES, "pv", "temperature", "solar_irradiance", "price", *BATTERY_SENSORS)
EXPORT_PRICE = "export_price"
PRICES = ("price", EXPORT_PRICE)
FLOWS = (*APPLIANCES, "pv", "battery_charge")
"""Columns that hold energy per row."""
# What the battery sensors say before a run has started.
IDLE_BATTERY = {
    "battery_soc": 0.45,
    "battery_soh": 1.0,
    "battery_charge": 0.0,
    "battery_cycles": 0.0,
}

INTERVAL_MINUTES = HALF_HOUR.minutes
INTERVAL = HALF_HOUR.step
DAY = HALF_HOUR.per_day
COARSEST_MINUTES = 60

# A 3 x 80 A connection carries 27.6 kWh in half an hour; what lies far beyond is a fault, in rows
# of another length as much more or less.
MAX_INTERVAL_KWH = 100.0
_RANGES = {
    **dict.fromkeys((*APPLIANCES, "pv"), (0.0, MAX_INTERVAL_KWH)),
    "temperature": (-90.0, 65.0),
    "solar_irradiance": (0.0, 2000.0),
    "battery_soc": (0.0, 1.0),
    "battery_soh": (0.0, 1.0),
    "battery_charge": (-MAX_INTERVAL_KWH, MAX_INTERVAL_KWH),
    "battery_cycles": (0.0, 1e6),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_name(name: str) -> str:
    """Return ``name`` if it can be a file and a database key; raise InputError otherwise."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"household name {name!r}: use up to 64 letters, digits, '_', '-' and '.', "
            "beginning with a letter or digit"
        )
    return name


def check_zone(timezone: str) -> str:
    """Return ``timezone`` if it is a known IANA zone; raise InputError otherwise."""
    try:
        pd.Timestamp("2020-01-01", tz=timezone)
    except (KeyError, ValueError, TypeError, OSError):
        raise InputError(f"unknown time zone {timezone!r}") from None
    return timezone


def check_index(index: pd.Index, name: str, cadence: Cadence = HALF_HOUR) -> None:
    """Raise InputError unless ``index`` is UTC, a row each interval, unique and without a gap."""
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC":
        raise InputError(f"{name}: the index must be timestamps in UTC")
    if len(index) == 0:
        raise InputError(f"{name}: no rows")
    ticks = index.as_unit("s").asi8
    step, off = cadence.seconds, f"not on the {cadence.noun.replace(' ', '-')} grid"
    wrong = np.flatnonzero(np.diff(ticks) != step)
    if wrong.size:
        row = int(wrong[0]) + 1
        gap = int(ticks[row] - ticks[row - 1])
        kind = "duplicate" if gap == 0 else "out of order" if gap < 0 else "gap before"
        if 0 < gap < step:
            kind = off
        raise InputError(f"{name}: row {row}: {kind} {index[row].isoformat()}")
    # Hours may begin at the half hour: they are those of a clock, somewhere in the world.
    if ticks[0] % min(step, HALF_HOUR.seconds):
        raise InputError(f"{name}: row 0: {off} {index[0].isoformat()}")


def validate(frame: pd.DataFrame, name: str, cadence: Cadence = HALF_HOUR) -> None:
    """Raise InputError, naming household, row and value, unless ``frame`` is canonical."""
    known = (*COLUMNS, EXPORT_PRICE)
    if tuple(frame.columns) not in (COLUMNS, known):
        missing = [c for c in COLUMNS if c not in frame.columns]
        unknown = [str(c) for c in frame.columns if c not in known]
        detail = f"missing {missing}" if missing else f"unknown {unknown}" if unknown else "order"
        raise InputError(f"{name}: columns differ from the canonical frame: {detail}")
    check_index(frame.index, name, cadence)
    longer = cadence.minutes / HALF_HOUR.minutes
    for column, kind in zip(frame.columns, frame.dtypes, strict=True):
        if not pd.api.types.is_numeric_dtype(kind):
            raise InputError(f"{name}: column {column} holds no numbers")
    for column, values in zip(frame.columns, frame.to_numpy(np.float64).T, strict=True):
        if column in PRICES:
            check_prices(values, partial(_place, name, frame.index, column))
            continue
        low, high = _RANGES[column]
        if column in FLOWS:
            low, high = low * longer, high * longer
        # Written so that NaN fails as well.
        wrong = np.flatnonzero(~((values >= low) & (values <= high)))
        if wrong.size:
            row = int(wrong[0])
            raise InputError(
                f"{_place(name, frame.index, column, row)} = {values[row]:g} is outside "
                f"[{low:g}, {high:g}]"
            )


def _place(name: str, index: "pd.Index[pd.Timestamp]", column: str, row: int) -> str:
    return f"{name}: row {row} ({index[row].isoformat()}): {column}"


@dataclass(frozen=True)
class Household:
    """One household's readings and what must be known about them.

    ``frame``: (T, 17) float64, columns COLUMNS, UTC index; (T, 18) with EXPORT_PRICE last where
    the household has export prices of its own.
    ``interval_minutes``: length of a row. ``resolution_minutes``: interval of the source, a row's
    at least and 60 at most; a coarser source is spread evenly and its readings become known only
    when its own interval is over.
    ``phase_minutes``: minutes by which the source's intervals are shifted against full UTC hours
    (30 for hourly wall-clock data in a zone such as Asia/Kolkata).
    ``filled_rows``: (T,) bool, True where a consumption or PV reading was filled: no score may use
    these rows. ``filled_values``: number of such readings. ``doubts``: what its import found
    suspicious.
    """

    name: str
    frame: pd.DataFrame = field(repr=False)
    timezone: str
    resolution_minutes: int = INTERVAL_MINUTES
    source: str = ""
    real: bool = True
    filled_values: int = 0
    phase_minutes: int = 0
    filled_rows: NDArray[np.bool_] = field(
        default_factory=lambda: np.zeros(0, dtype=np.bool_), repr=False
    )
    interval_minutes: int = INTERVAL_MINUTES
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        check_zone(self.timezone)
        validate(self.frame, self.name, self.cadence)
        if not self.interval_minutes <= self.resolution_minutes <= COARSEST_MINUTES:
            raise InputError(
                f"{self.name}: readings every {self.resolution_minutes} minutes; "
                f"{self.interval_minutes} to {COARSEST_MINUTES} are supported"
            )
        if self.filled_rows.size == 0:
            object.__setattr__(self, "filled_rows", np.zeros(len(self.frame), dtype=np.bool_))
        if self.filled_rows.shape != (len(self.frame),):
            raise InputError(f"{self.name}: filled_rows does not fit the frame")

    def with_doubts(self, doubts: Sequence[str]) -> Self:
        """The same household, whose readings need no second look, with these doubts."""
        other = copy(self)
        object.__setattr__(other, "doubts", tuple(doubts))
        return other

    @property
    def cadence(self) -> Cadence:
        """How long its rows are."""
        return Cadence(self.interval_minutes)

    @property
    def consumption(self) -> NDArray[np.float64]:
        """(T,) kWh per interval: the sum of the nine appliances."""
        total = np.zeros(len(self.frame))
        for appliance in APPLIANCES:  # a frame of nine columns would be made to be added up
            total += self.frame[appliance].to_numpy(np.float64)
        return total

    @property
    def export_price(self) -> NDArray[np.float64] | None:
        """(T,) currency per kWh paid for export; None where the data has no such prices."""
        if EXPORT_PRICE not in self.frame.columns:
            return None
        return self.frame[EXPORT_PRICE].to_numpy(np.float64)

    def known(self, t: int) -> int:
        """Return how many leading rows are known when deciding for row ``t`` (at most ``t``).

        A row is known once the source's own reading interval that holds it is over: with hourly
        data the first half hour is unknown until the second has ended as well.
        """
        origin = int(self.frame.index[0].timestamp()) // 60
        now = origin + t * self.interval_minutes
        over = now - (now - self.phase_minutes) % self.resolution_minutes
        return max(0, (over - origin) // self.interval_minutes)

    def lags(self, rows: int) -> Ints:
        """By how many rows the newest reading lags when each of the first rows is decided."""
        origin = int(self.frame.index[0].timestamp()) // 60
        row = np.arange(rows, dtype=np.int64)
        now = origin + row * self.interval_minutes
        over = now - (now - self.phase_minutes) % self.resolution_minutes
        lags: Ints = row - np.maximum((over - origin) // self.interval_minutes, 0)
        return lags

    def row(self, time: pd.Timestamp) -> int:
        """Return the row that starts at ``time`` (may lie outside the frame, even below 0)."""
        return int((time - self.frame.index[0]) // self.cadence.step)

    def at(self, cadence: Cadence, start: pd.Timestamp) -> "Household":
        """The same readings in rows of another length, one of which begins at ``start``.

        See ``common.data.regrid``; a row is filled where any part of it was. Returns the household
        itself where its rows are such rows already.
        """
        old, new = self.interval_minutes, cadence.minutes
        index = self.frame.index
        skip = int((start - index[0]) // pd.Timedelta(minutes=1)) % new
        if old == new and skip == 0:
            return self
        made = {
            column: regrid(self.frame[column].to_numpy(np.float64), old, new, skip, _how(column))
            for column in self.frame.columns
        }
        filled = regrid(self.filled_rows.astype(np.float64), old, new, skip, "level") > 0
        if not len(filled):
            raise InputError(f"{self.name}: its readings do not fill one {cadence.noun}")
        rows = pd.date_range(
            index[0] + pd.Timedelta(minutes=skip),
            periods=len(filled),
            freq=cadence.step,
            unit="us",
            name=index.name,
        )
        resolution, phase = self.resolution_minutes, self.phase_minutes
        if new > resolution:
            # A row that readings do not end with is known when the next one has ended.
            if new % resolution == 0:
                phase = rows[0].minute % new
            resolution = math.lcm(new, resolution)
        return replace(
            self,
            frame=pd.DataFrame(made, index=rows),
            filled_rows=filled,
            interval_minutes=new,
            resolution_minutes=resolution,
            phase_minutes=phase,
        )

    def half_hours(self) -> "Household":
        """The same readings in half hours, in which models and benchmarks count."""
        return self.at(HALF_HOUR, self.frame.index[0].floor(HALF_HOUR.step))


def _how(column: str) -> str:
    """How rows of another length get their value of ``column``, see ``regrid``."""
    if column in FLOWS:
        return "energy"
    return "state" if column in BATTERY_SENSORS else "level"


def local_midnight(day: str | pd.Timestamp, timezone: str) -> pd.Timestamp:
    """Return the UTC time at which local day ``day`` begins in ``timezone``."""
    naive = pd.Timestamp(day).normalize().tz_localize(None)
    # Where the clock jumps at midnight the day begins at the first time that exists.
    local = naive.tz_localize(timezone, nonexistent="shift_forward", ambiguous=True)
    return local.tz_convert("UTC")
