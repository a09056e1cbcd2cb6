"""Random books on which mechanisms are compared."""

import numpy as np

from common.market_rules import MICRO, MILLI_WH_PER_KWH
from common.rng import generator
from fl_server.market import Grid, OrderBook

RETAIL, FEED_IN = 0.30, 0.05
GRID = Grid(retail=round(RETAIL * MICRO), feed_in=round(FEED_IN * MICRO))


def random_book(orders: int, seed: int, feeders: int = 1) -> OrderBook:
    """``orders`` households with one order each, half of them buyers in the mean.

    Quantities are uniform in 0.01 to 3 kWh. A buyer's value lies between feed-in and retail, as it
    could buy at retail; so does what a seller wants, as it could sell at feed-in.
    """
    rng = generator(seed, "", orders, "benchmark book")
    return OrderBook(
        household=np.arange(orders),
        side=rng.choice(np.array([1, -1], np.int8), orders),
        quantity=rng.integers(MILLI_WH_PER_KWH // 100, 3 * MILLI_WH_PER_KWH, orders),
        price=rng.integers(GRID.feed_in, GRID.retail, orders),
        feeder=np.arange(orders) % feeders,
        min_milliwh=np.zeros(orders, np.int64),
    )
