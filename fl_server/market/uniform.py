"""Uniform price double auction: one price for all, where demand meets supply.

Every unit whose bid is at or above the grossed ask it meets is traded, which is the welfare
optimum of the book. The price lies at share ``k`` of the range that clears the market (k = 1/2:
the middle), the k-double auction of Satterthwaite and Williams (1989) for many units.
"""

import numpy as np

from common.market_rules import MarketRules, Mask
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.matching import Ladder, Pairs, between, cleared, cross, ladder, pair


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders of ``book`` at one price. The grid's prices play no part."""
    return at_one_price(book, ladder(book, active, rules, seed), rules)


def at_one_price(orders: OrderBook, book: Ladder, rules: MarketRules) -> Clearing:
    """Clear a ladder at one price; without trade the best bid and ask are the signal."""
    crossing = cross(book)
    if crossing is None:
        return without_trade(orders, book)
    price = between(crossing.low, crossing.high, rules.k_ppm)
    pairs = pair(book, crossing.volume)
    prices = np.full(len(pairs.sent), price, np.int64)
    return cleared(orders, book, pairs, prices, prices, price=price, signal=(price, price))


def without_trade(orders: OrderBook, book: Ladder) -> Clearing:
    """No trade: the best bid and the lowest grossed ask are the price signal."""
    none = np.zeros(0, np.int64)
    nothing = Pairs(none, none, none, none)
    signal = (book.best_bid, book.best_ask)
    return cleared(orders, book, nothing, none, none, price=None, signal=signal)
