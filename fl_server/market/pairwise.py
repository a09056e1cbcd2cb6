"""Pairwise prices: every pair trades at its own price, between its bid and its grossed ask.

The highest bid meets the lowest ask, and so on down the ladder to the uniform auction's volume.
``pay_as_bid`` is k = 1, the buyer pays its bid; ``k_double`` splits the gap at the rules' ``k``.
"""

from common.market_rules import PPM, MarketRules, Mask
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.matching import cleared, cross, ladder, pair, without_trade


def pay_as_bid(
    book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int
) -> Clearing:
    """Clear the active orders; each pair trades at its bid."""
    return _clear(book, active, rules, seed, PPM)


def k_double(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders; each pair trades at ``ask + k * (bid - ask)``, asks grossed up."""
    return _clear(book, active, rules, seed, rules.k_ppm)


def _clear(book: OrderBook, active: Mask, rules: MarketRules, seed: int, k_ppm: int) -> Clearing:
    steps = ladder(book, active, rules, seed)
    crossing = cross(steps)
    if crossing is None:
        return without_trade(book, rules)
    pairs = pair(steps, crossing.volume)
    bids, asks = steps.bids[pairs.buy], steps.asks[pairs.sell]
    prices = asks + (bids - asks) * k_ppm // PPM
    return cleared(book, steps, pairs, prices, rules)
