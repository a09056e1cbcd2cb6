"""A small community whose every interval is a function of its number."""

from dataclasses import replace

import numpy as np

from common.market_rules import MarketRules
from fl_server.market import Fills, OrderBook, clear
from fl_server.settlement import Settlement, settle, surcharge

NAMES = [f"H{h}" for h in range(6)]
START, ZONE = "2016-10-01T07:00:00+00:00", "America/Los_Angeles"


def fills_of(interval: int) -> Fills:
    """Trades of interval ``interval``."""
    rng = np.random.default_rng(interval)
    n = len(NAMES)
    book = OrderBook(
        np.arange(n),
        rng.choice([1, -1], n).astype(np.int8),
        rng.integers(0, 2_000_000, n),
        rng.integers(50_000, 300_000, n),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
    )
    return clear("uniform", book, MarketRules(), seed=interval).fills(n)


def settlement_of(interval: int) -> Settlement:
    """Meter readings of interval ``interval``, settled."""
    net = np.random.default_rng(1_000 + interval).integers(-2_000_000, 2_000_000, len(NAMES))
    taken, given = np.maximum(net, 0), np.maximum(-net, 0)
    return settle(taken, given, fills_of(interval), 300_000, 50_000)


def capped(interval: int) -> Settlement:
    """Allowances of 1 kWh for all; in interval 3 of 3 kWh, which nobody passes."""
    settled = settlement_of(interval)
    allowed = np.full(len(NAMES), 3_000_000 if interval == 3 else 1_000_000)
    above = max(int(settled.grid_import.sum()) - int(allowed.sum()) // 3, 0)
    charge = surcharge(settled.grid_import, allowed, above, 300_000, 650_000)
    return replace(settled, surcharge=charge)


MOVED = np.array([-70, 100, 0, -30, 0, 0])
