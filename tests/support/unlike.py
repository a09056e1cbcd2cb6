"""Folders of homes that differ: prices as a day-ahead market has them, equipment of their own."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from common.arrays import Floats
from common.data.frame import EXPORT_PRICE
from common.data.source import open_source
from common.data.store import write_household


def day_ahead(index: pd.DatetimeIndex, seed: int) -> Floats:
    """Prices (T,) per kWh: two peaks a day, a valley at noon, below zero in 5 % of the hours, and
    now and then a spike of 1."""
    rng = np.random.default_rng(seed)
    hour = np.asarray(index.hour + index.minute / 60)
    days = (np.arange(len(index)) // 48).astype(int)
    level = 0.12 + 0.04 * rng.standard_normal(days.max() + 1)[days]
    peaks = np.exp(-((hour - 8) ** 2) / 4) + 1.3 * np.exp(-((hour - 19) ** 2) / 6)
    hours = np.arange(len(index)) // 2
    noise = 0.02 * rng.standard_normal(hours.max() + 1)[hours]
    sun = np.clip(rng.gamma(2.0, 0.5, days.max() + 1), 0, 3)[days] * np.exp(-((hour - 13) ** 2) / 5)
    price = level + 0.10 * peaks - 0.09 * sun + noise
    price -= np.quantile(price, 0.05)  # just 5 % are below zero
    spikes = rng.random(hours.max() + 1)[hours] < 0.004
    return np.round(np.where(spikes, 1.0, price), 5)


def unlike_homes(
    folder: Path,
    *,
    households: int,
    days: float,
    seed: int = 0,
    history_days: int = 7,
    reversed_at_noon: bool = False,
    blocks: Mapping[int, Mapping[str, Any]] | None = None,
    tariffs: int = 3,
) -> list[str]:
    """Write synthetic homes with one of ``tariffs`` tariffs each, and the blocks beside them.

    Import costs the market's price, with most tariffs more, export earns less.
    ``reversed_at_noon``: from 11 to 14 the grid pays more than it asks. Returns their names.
    """
    source = open_source(
        "synthetic", seed=seed, households=households, start=date(2024, 6, 3), days=days,
        history_days=history_days,
    )  # fmt: skip
    names = source.names()
    for h, name in enumerate(names):
        home = source.load(name)
        frame = home.frame.copy()
        index = pd.DatetimeIndex(frame.index)
        market, which = day_ahead(index, seed), h % tariffs
        frame["price"] = np.round(market * (1.0 + 0.1 * which), 5)
        paid = market - 0.06 - 0.01 * which
        if reversed_at_noon:
            hour = np.asarray(index.hour)
            paid = np.where((hour >= 11) & (hour < 14), frame["price"] + 0.02, paid)
        frame[EXPORT_PRICE] = np.round(paid, 5)
        write_household(replace(home, frame=frame), folder)
        block = (blocks or {}).get(h)
        if block is not None:
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(block)))
    return names
