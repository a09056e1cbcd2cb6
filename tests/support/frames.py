"""Canonical frames of a household's readings."""

import numpy as np
import pandas as pd

from common.data.frame import COLUMNS, IDLE_BATTERY


def frame(first: str = "2024-01-01", rows: int = 8) -> pd.DataFrame:
    index = pd.date_range(first, periods=rows, freq="30min", tz="UTC")
    values = {c: np.full(rows, IDLE_BATTERY.get(c, 0.25)) for c in COLUMNS}
    return pd.DataFrame(values, index=index, columns=list(COLUMNS))
