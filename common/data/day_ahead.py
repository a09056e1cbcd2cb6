"""Prices with the shape of a day-ahead market, and what suppliers make of them.

Two peaks a day, a valley at noon that reaches below zero, now and then a spike. The shape is drawn
to try things out and is no market's history: one hour of twenty lies below zero, as in Germany in
2024 (457 of 8,784 hours, https://energysales.vattenfall.de/publikationen/artikel/negative-spotpreise-geschenkt-ist-noch-zu-teuer),
and one hour of 250 costs 1 per kWh.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.data.frame import EXPORT_PRICE, INTERVAL, Household
from common.rng import generator

NAME, REVERSED = "day-ahead", "reversed"
SPIKE = 1.0
"""Per kWh."""
_SPIKES = 0.004
"""Share of hours with one."""
TARIFFS = 3


@lru_cache(maxsize=4)
def day_ahead(timezone: str, seed: int, first: pd.Timestamp, intervals: int) -> Floats:
    """Prices (T,) per kWh, one for each hour by the local clock.

    Every day draws from its own generator, so windows that overlap agree.
    """
    local = pd.date_range(first, periods=intervals, freq=INTERVAL, unit="us").tz_convert(timezone)
    hour = local.hour.to_numpy()
    code, days = pd.factorize(local.normalize())
    drawn = [_day(generator(seed, "", day.toordinal(), "day ahead")) for day in days]
    return np.asarray(np.stack(drawn)[code, hour])


def _day(rng: np.random.Generator) -> Floats:
    """Prices (24,) of one day."""
    hour = np.arange(24.0)
    level = 0.095 + 0.03 * rng.standard_normal()
    sun = min(rng.gamma(2.0, 0.5), 3.0)
    peaks = 0.10 * np.exp(-((hour - 8) ** 2) / 4) + 0.13 * np.exp(-((hour - 19) ** 2) / 6)
    valley = 0.09 * sun * np.exp(-((hour - 13) ** 2) / 5)
    price = level + peaks - valley + 0.02 * rng.standard_normal(24)
    return np.asarray(np.round(np.where(rng.random(24) < _SPIKES, SPIKE, price), 5), np.float64)


def drawn_tariff(name: str, seed: int) -> int:
    """Which of TARIFFS household ``name`` has."""
    return int(generator(seed, name, 0, "tariff").integers(TARIFFS))


def tariff(
    market: Floats, hour: Ints, which: int, reversed_at_noon: bool = False
) -> tuple[Floats, Floats]:
    """Import and export prices (T,) of tariff ``which``, counted from 0.

    Each asks 10 % more of the market's price than the one before it and pays 1 cent less; the first
    pays 6 cents below the market. ``hour``: (T,) of the local clock. ``reversed_at_noon``: from 11
    to 14 the grid pays 2 cents more than it asks, so that energy sent is worth more than used.
    """
    asked = np.round(market * (1.0 + 0.1 * which), 5)
    paid = market - 0.06 - 0.01 * which
    if reversed_at_noon:
        paid = np.where((hour >= 11) & (hour < 14), asked + 0.02, paid)
    return asked, np.round(paid, 5)


def at_market(home: Household, seed: int, *, reversed_at_noon: bool = False) -> Household:
    """The home with the import and export prices of the tariff it has drawn."""
    index = pd.DatetimeIndex(home.frame.index)
    asked, paid = tariff(
        day_ahead(home.timezone, seed, index[0], len(index)),
        np.asarray(index.tz_convert(home.timezone).hour, dtype=np.int64),
        drawn_tariff(home.name, seed),
        reversed_at_noon,
    )
    return replace(home, frame=home.frame.assign(**{"price": asked, EXPORT_PRICE: paid}))
