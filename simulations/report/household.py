"""What the report shows of one household, read from the household's own database."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from common.arrays import Floats
from common.cadence import HALF_HOUR, Cadence
from common.data.regrid import regrid
from common.errors import InputError
from simulations.report.thin import bucket_mean

FLOWS = ("load", "pv", "charge", "discharge", "bought", "sold", "grid_import", "grid_export")
COLUMNS = (*FLOWS, "soc")


@dataclass(frozen=True)
class HouseholdRecord:
    """A household's run, thinned to P points, and the errors of its forecasts at full detail.

    ``series`` holds means per point, (P,): flows in kWh per interval of
    ``hours``, soc as a fraction.
    ``day_ahead`` is the consumption forecast issued at midnight, (P,) in the same, and
    ``day_ahead_nrmse`` its root mean square error over the mean load, before thinning.
    ``squared``, ``yesterday`` and ``counted`` are sums per window of intervals, (W,), over the
    intervals that have both a forecast and a reading a day earlier: squared errors of the newest
    forecast issued before the interval, squared errors of that reading, and how many intervals.
    """

    name: str
    series: Mapping[str, Floats]
    day_ahead: Floats
    day_ahead_nrmse: float | None
    mean_load: float
    squared: Floats
    yesterday: Floats
    counted: Floats
    hours: float = HALF_HOUR.hours


def read_household(
    name: str,
    path: Path,
    *,
    origin: int,
    length: int,
    size: int,
    window: int,
    cadence: Cadence = HALF_HOUR,
) -> HouseholdRecord:
    """Read one household. Raises InputError when the file is damaged.

    ``origin`` is the number of the first interval and ``length`` how many there are; ``size``
    intervals of ``cadence`` make a point, ``window`` intervals a window of the forecast errors.
    """
    try:
        # Read-only: a report never alters a run.
        address = f"file:{quote(str(path.resolve()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            present = {row[1] for row in database.execute("PRAGMA table_info(intervals)")}
            points = _means(database, present & set(COLUMNS), origin, length, size)
            load = _full(database, "load", present, origin, length)
            newest = _full(database, "forecast_load", present, origin, length)
            day_ahead = _day_ahead(database, origin, length, cadence)
    except (sqlite3.Error, ValueError) as error:
        raise InputError(f"{path}: not a household database: {error}") from None

    # Between midnights only some traders ask for a new forecast: then the midnight's is the newest.
    newest = np.where(np.isfinite(newest), newest, day_ahead)
    day = min(cadence.per_day, length)
    earlier = np.concatenate([np.full(day, np.nan), load])[:length]
    both = np.isfinite(load) & np.isfinite(newest) & np.isfinite(earlier)
    mean_load = float(np.nanmean(load)) if np.isfinite(load).any() else float("nan")
    known = np.isfinite(load) & np.isfinite(day_ahead)
    nrmse = None
    if known.any() and mean_load > 0:
        nrmse = float(np.sqrt(np.mean((day_ahead - load)[known] ** 2)) / load[known].mean())
    return HouseholdRecord(
        name=name,
        series=points,
        day_ahead=bucket_mean(day_ahead, size),
        day_ahead_nrmse=nrmse,
        mean_load=mean_load,
        squared=_window_sum(np.where(both, (newest - load) ** 2, 0.0), window),
        yesterday=_window_sum(np.where(both, (earlier - load) ** 2, 0.0), window),
        counted=_window_sum(both * 1.0, window),
        hours=cadence.hours,
    )


def _means(
    database: sqlite3.Connection, columns: set[str], origin: int, length: int, size: int
) -> dict[str, Floats]:
    """Means per point of each column of COLUMNS; nan where there is none. Averaged by SQLite."""
    points = -(-length // size)
    out = {column: np.full(points, np.nan) for column in COLUMNS}
    names = sorted(columns)
    if not names or not points:
        return out
    averages = ", ".join(f'avg("{column}")' for column in names)
    rows = database.execute(
        f"SELECT (t - ?) / ?, {averages} FROM intervals WHERE t >= ? AND t < ? GROUP BY 1",
        (origin, size, origin, origin + length),
    ).fetchall()
    for point, *values in rows:
        for column, value in zip(names, values, strict=True):
            if value is not None:
                out[column][point] = value
    return out


def _full(
    database: sqlite3.Connection, column: str, present: set[str], origin: int, length: int
) -> Floats:
    """A column interval by interval, (T,); nan where there is none."""
    out = np.full(length, np.nan)
    if column not in present:
        return out
    rows = database.execute(
        f'SELECT t - ?, "{column}" FROM intervals WHERE t >= ? AND t < ? AND "{column}" NOT NULL',
        (origin, origin, origin + length),
    ).fetchall()
    if rows:
        where, values = zip(*rows, strict=True)
        out[list(where)] = values
    return out


def _day_ahead(database: sqlite3.Connection, origin: int, length: int, cadence: Cadence) -> Floats:
    """The forecasts issued at midnight, one after the other, (T,) kWh; a later one replaces."""
    out = np.full(length, np.nan)
    if not database.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'forecasts'"
    ).fetchone():
        return out
    issued = database.execute(
        "SELECT t, \"values\" FROM forecasts WHERE stream = 'consumption_day' ORDER BY t"
    )
    for t, blob in issued:
        half_hours = np.frombuffer(blob, dtype=np.float32).astype(np.float64)
        values = regrid(half_hours, HALF_HOUR.minutes, cadence.minutes, 0, "energy")
        start = int(t) - origin
        skipped = max(0, -start)
        part = values[skipped : max(skipped, length - start)]
        out[start + skipped : start + skipped + len(part)] = part
    return out


def _window_sum(values: Floats, window: int) -> Floats:
    starts = np.arange(0, len(values), window)
    return np.add.reduceat(values, starts) if len(starts) else values
