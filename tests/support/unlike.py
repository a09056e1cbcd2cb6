"""Folders of homes that differ: prices of many shapes, zones and equipment of their own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from common.arrays import Floats, Ints
from common.data.day_ahead import day_ahead, tariff
from common.data.frame import EXPORT_PRICE
from common.data.source import open_source
from common.data.store import write_household

Shape = Callable[[Floats, Ints, int], tuple[Floats, Floats]]
"""A market's prices (T,), hours of the local clock (T,), number of the tariff -> asked, paid."""


def _flat(asked: Sequence[float], paid: Sequence[float]) -> Shape:
    return lambda market, _hour, which: (
        np.full(len(market), asked[which % len(asked)]),
        np.full(len(market), paid[which % len(paid)]),
    )


def _edges(market: Floats, hour: Ints, which: int) -> tuple[Floats, Floats]:
    asked = np.where(hour % 6 < 3, 100.0, -100.0)
    return asked, asked if which == 1 else np.full(len(market), -100.0)


def _spikes(market: Floats, _hour: Ints, which: int) -> tuple[Floats, Floats]:
    row = np.arange(len(market))
    asked = np.where(row % 7 == 3, 50.0, np.where(row % 11 == 5, -40.0, 0.2))
    return asked, np.where(row % 13 == which, 60.0, 0.05)


def _above(market: Floats, hour: Ints, which: int) -> tuple[Floats, Floats]:
    asked, _ = tariff(market, hour, which)
    return asked, asked + 0.03


def _equal(market: Floats, hour: Ints, which: int) -> tuple[Floats, Floats]:
    asked, _ = tariff(market, hour, which)
    return asked, asked.copy()


SHAPES: Mapping[str, Shape] = {
    "day-ahead": tariff,
    "reversed": lambda market, hour, which: tariff(market, hour, which, reversed_at_noon=True),
    "zero": _flat([0.0], [0.0]),
    "below zero": _flat([-0.05, -0.06, -0.07], [-0.1, -0.06, -0.3]),
    "opposed": _flat([0.3, -0.1, 0.1], [0.05, -0.2, 0.4]),
    "export above import": _above,
    "export as import": _equal,
    "at the edges": _edges,
    "spikes": _spikes,
}


def unlike_homes(
    folder: Path,
    *,
    households: int,
    days: float,
    seed: int = 0,
    history_days: int = 7,
    shape: str = "day-ahead",
    blocks: Mapping[int, Mapping[str, Any]] | None = None,
    tariffs: int = 3,
    zones: Sequence[str] = (),
    start: date = date(2024, 6, 3),
) -> list[str]:
    """Write synthetic homes with one of ``tariffs`` tariffs each, and the blocks beside them.

    ``zones``: what homes in turn have; empty: the source's. Returns their names.
    """
    source = open_source(
        "synthetic", seed=seed, households=households, start=start, days=days,
        history_days=history_days,
    )  # fmt: skip
    names = source.names()
    for h, name in enumerate(names):
        home = source.load(name)
        zone = zones[h % len(zones)] if zones else home.timezone
        index = pd.DatetimeIndex(home.frame.index)
        hour = np.asarray(index.tz_convert(zone).hour, dtype=np.int64)
        market = day_ahead(home.timezone, seed, index[0], len(index))
        asked, paid = SHAPES[shape](market, hour, h % tariffs)
        frame = home.frame.assign(**{"price": asked, EXPORT_PRICE: paid})
        write_household(replace(home, frame=frame, timezone=zone), folder)
        block = (blocks or {}).get(h)
        if block is not None:
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(block)))
    return names
