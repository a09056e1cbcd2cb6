"""The published tariff of a deployment: a CSV file that is extended while the run goes on."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.data.frame import INTERVAL
from common.errors import InputError
from common.files import write_whole

_DAY = 48


def write_tariff(path: Path, start: pd.Timestamp, retail: Floats) -> None:
    """Write prices [currency/kWh] of the half hours from ``start`` on."""
    times = pd.date_range(start, periods=len(retail), freq=INTERVAL)
    lines = [
        f"{time.isoformat()},{float(price)!r}\n" for time, price in zip(times, retail, strict=True)
    ]
    write_whole(path, "time,retail\n" + "".join(lines))


def read_tariff(path: Path, start: pd.Timestamp, count: int) -> Floats:
    """Return prices (count,) from ``start`` on; nan where the file says nothing yet.

    Raises InputError for a file that is no tariff, or begins after ``start``.
    """
    try:
        frame = pd.read_csv(path, dtype=str)
        times = pd.to_datetime(frame["time"], utc=True)
        prices = np.array([float(text) for text in frame["retail"]])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"tariff {path}: {' '.join(str(error).split())}") from None
    if times.duplicated().any():
        raise InputError(f"tariff {path}: {times[times.duplicated()].iloc[0]} stands there twice")
    if not np.isfinite(prices).all() or (prices <= 0).any():
        raise InputError(f"tariff {path}: a price that is no positive number")
    wanted = pd.date_range(start, periods=count, freq=INTERVAL)
    found = pd.Series(prices, index=times).reindex(wanted).to_numpy(np.float64, copy=True)
    if np.isnan(found[0]):
        raise InputError(f"tariff {path}: no price for {start}, the first interval")
    return found


def fill_price(retail: Floats, t: int) -> bool:
    """Give interval ``t`` the price of the day before where it has none; True if it had none."""
    if not np.isnan(retail[t]):
        return False
    retail[t] = retail[t - _DAY] if t >= _DAY else retail[max(t - 1, 0)]
    return True
