"""MUDA: two halves of the community, each trading at the price the other half finds.

Segal-Halevi, Hassidim and Aumann (2018), "MUDA: a truthful multi-unit double-auction mechanism".
A draw that looks only at households splits them. In each half the crossing of demand and supply
gives a price, at which the *other* half trades; the longer side queues in an order drawn by lot.
No household touches the price it meets, curves of several steps included. Sellers earn the price
less the margin, which the market keeps: that is the highest ask with which they would trade.
"""

import numpy as np

from common.market_rules import MarketRules, Mask
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.joining import join
from fl_server.market.matching import Ladder, between, cross, ladder, lottery
from fl_server.market.sharing import trade_at, willing


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders in two halves."""
    # Another bit of the same draw than the one that orders the queue.
    left = (lottery(book.household, seed ^ 0x5DEECE66D) & 1).astype(bool)
    halves = (active & left, active & ~left)
    prices = [_price(ladder(book, half, rules, seed), rules) for half in halves]
    trades = []
    for half, price in zip(halves, reversed(prices), strict=True):
        here = half if price is not None else np.zeros_like(half)
        buys, sells = willing(book, here, rules, price or 0, price or 0)
        trades.append(
            trade_at(
                book,
                buys,
                sells,
                rules,
                seed,
                buy_price=price or 0,
                sell_price=rules.truthful_earning(price or 0),
                longer_side="queues",
            )
        )
    return join(book, trades)


def _price(half: Ladder, rules: MarketRules) -> int | None:
    """A price at which this half's demand meets its supply; None without orders on both sides."""
    if not len(half.bids) or not len(half.asks):
        return None
    crossing = cross(half)
    if crossing is None:
        return between(int(half.bids[0]), int(half.asks[0]), rules.k_ppm)
    return between(crossing.low, crossing.high, rules.k_ppm)
