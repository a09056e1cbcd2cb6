"""Weather and prices that several households share: a table beside their meter files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Ints
from common.data.formats.canonical import Canonical
from common.data.frame import INTERVAL, PRICES
from common.data.ordering import Account, Source, order
from common.data.prices import check_prices
from common.data.readings import CHANNELS, LEVELS, Options
from common.data.resample import HALF_HOUR_S, spread
from common.data.spool import Spool
from common.errors import InputError


def read_context(path: Path, options: Options) -> Mapping[str, "pd.Series[float]"]:
    """Read temperature, irradiance and prices shared by the households, half-hourly in UTC.

    A table with ``timestamp`` and any of LEVELS, in any order and step; every value holds for its
    own step, and what the table lacks is nan. Raises InputError with file and row.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    own = Options(timezone=options.timezone, clock=options.clock, name="context")
    spool = Spool(path.parent)  # a context fits into memory: nothing is written
    for batch in Canonical().read([path], own):
        if batch.channel not in LEVELS:
            raise InputError(f"{path}: column {batch.channel} is neither weather nor price")
        if batch.channel in PRICES:
            given = ~np.isnan(batch.value)
            rows, channel = batch.row[given], batch.channel
            check_prices(batch.value[given], partial(_place, path, rows, channel))
        spool.add(batch)
    if not spool.names():
        raise InputError(f"{path}: holds no readings")
    records = spool.readings("context")
    joined = {}
    for code in np.unique(records["channel"]).tolist():
        level = order(
            Source("context", spool.paths),
            CHANNELS[code],
            records[records["channel"] == code],
            clock=options.clock or options.timezone or "UTC",
            allow_resets=False,
            account=Account(),
        )
        if level is None:
            continue
        grid = spread(level.start, level.seconds, level.value * level.seconds)
        index = pd.date_range(
            pd.Timestamp(grid.first * HALF_HOUR_S, unit="s", tz="UTC"),
            periods=len(grid.total),
            freq=INTERVAL,
            unit="us",
        )
        mean = np.where(grid.covered > 0, grid.total / np.maximum(grid.covered, 1.0), np.nan)
        joined[CHANNELS[code]] = pd.Series(mean, index=index)
    return joined


def _place(path: Path, rows: Ints, channel: str, at: int) -> str:
    return f"{path}: row {rows[at]}: {channel}"
