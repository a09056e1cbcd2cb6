"""The local market price of a run in place of the retail price, to be forecast like it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.data.frame import COLUMNS
from common.errors import InputError
from common.forecast.history import History
from simulations.benchmarks.forecasts.panel import Panel

LEAST_RUN_DAYS = 20  # four days to score


def with_local_price(panel: Panel, run: Path) -> Panel:
    """Cut the panel to the intervals of ``run`` and give every home its local price.

    An interval without trade keeps the price of the last trade, as the market's signal does; the
    intervals before the first trade have the retail price. Raises InputError when the run holds no
    price or is too short.
    """
    path = run / "intervals.jsonl"
    if not path.is_file():
        raise InputError(f"--local-price {run}: no run with {path.name} there")
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        times = pd.DatetimeIndex(pd.to_datetime([row["time"] for row in rows], utc=True))
        local = pd.Series([row["local_price"] for row in rows], index=times, dtype=float)
        retail = pd.Series([row["retail"] for row in rows], index=times, dtype=float)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: not the intervals of a run: {error}") from None
    if local.notna().sum() == 0:
        raise InputError(f"{path}: nothing was traded, there is no local price")
    if len(local) < LEAST_RUN_DAYS * 48:
        raise InputError(
            f"{path}: {len(local) / 48:.0f} days; the benchmark needs {LEAST_RUN_DAYS}"
        )
    price = local.ffill().fillna(retail)
    index = panel.histories[0].index
    first = index.get_indexer(pd.DatetimeIndex([price.index[0]]))[0]
    stop = first + len(price)
    if first < 0 or stop > len(index) or not index[first:stop].equals(price.index):
        raise InputError(f"{path}: its intervals are not among the readings of --data")
    values = price.to_numpy()
    column = COLUMNS.index("price")
    histories = []
    for one in panel.histories:
        rows_ = one.values[first:stop].copy()
        rows_[:, column] = values
        histories.append(History(rows_, one.index[first:stop], one.timezone))
    days = panel.midnights
    return replace(
        panel,
        histories=tuple(histories),
        load=panel.load[:, first:stop],
        filled=panel.filled[:, first:stop],
        price=np.tile(values, (len(histories), 1)),
        temperature=panel.temperature[:, first:stop],
        midnights=days[(days >= first) & (days < stop)] - first,
    )
