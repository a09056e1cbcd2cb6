"""Files in formats that an import reads, for more than one test."""

import zlib

import numpy as np
import pandas as pd

from common.data.readings import Options

DAYS = 3


def numbers(rows, tag="", scale=0.5):
    return np.round(np.random.default_rng(zlib.crc32(tag.encode())).random(rows) * scale, 3)


def half_hours(first="2024-07-01", days=DAYS, freq="30min"):
    steps = days * 86400 // int(pd.Timedelta(freq).total_seconds())
    return pd.date_range(first, periods=steps, freq=freq)


def canonical_wide(folder):
    path = folder / "wide.parquet"
    frame = pd.DataFrame({f"MAC{i}": numbers(DAYS * 48, str(i)) for i in range(4)})
    frame.insert(0, "timestamp_utc", half_hours())
    frame.to_parquet(path)
    total = frame.iloc[:, 1:].to_numpy().sum()
    options = Options(timezone="Europe/London")
    return [path], options, {"load": total, "pv": 0.0}, "Europe/London"
