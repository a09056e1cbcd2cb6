"""Uniform price double auction: one price for all, where demand meets supply.

Every unit whose bid is at or above the grossed ask it meets is traded, which is the welfare
optimum of the book. The price lies at share ``k`` of the range that clears the market (k = 1/2:
the middle): the k-double auction of Satterthwaite and Williams (1989) for many units.

Where the grid is a counterparty it is one more seller, at retail, and one more buyer, at feed-in:
a cap that binds leaves the highest bids competing for what there is, and the price rises.
"""

import numpy as np

from common.market_rules import MarketRules, Mask
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.grid import uniform_with_grid
from fl_server.market.matching import between, cleared, cross, ladder, pair, without_trade


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders of ``book`` at one price."""
    if grid.joins:
        return uniform_with_grid(book, active, rules, grid, seed)
    steps = ladder(book, active, rules, seed)
    crossing = cross(steps)
    if crossing is None:
        return without_trade(book, rules)
    pairs = pair(steps, crossing.volume)
    price = between(crossing.low, crossing.high, rules.k_ppm)
    prices = np.full(len(pairs.sent), price, np.int64)
    return cleared(book, steps, pairs, prices, rules)
