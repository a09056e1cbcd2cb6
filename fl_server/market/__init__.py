"""The market: an order book of arrays goes in, trades come out; one mechanism a file, all pure.

``clear(mechanism, book, rules, grid, seed)`` is the one way in.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from common.errors import InputError
from common.market_rules import MarketRules, Mask
from common.named import is_named, named
from fl_server.market import (
    bill_sharing,
    hierarchical,
    mcafee,
    mid_market,
    muda,
    pairwise,
    uniform,
)
from fl_server.market.blocks import whole_blocks
from fl_server.market.book import GRID, Clearing, Fills, Grid, OrderBook
from fl_server.market.grid import last_resort
from fl_server.market.matching import live_sides

__all__ = [
    "GRID",
    "MECHANISMS",
    "Clearing",
    "Fills",
    "Grid",
    "Mechanism",
    "OrderBook",
    "clear",
    "find_mechanism",
]

Mechanism = Callable[[OrderBook, Mask, MarketRules, Grid, int], Clearing]

MECHANISMS: Final[dict[str, Mechanism]] = {
    "uniform": uniform.clear,
    "pay-as-bid": pairwise.pay_as_bid,
    "k-double": pairwise.k_double,
    "mid-market": mid_market.clear,
    "mcafee": mcafee.clear,
    "muda": muda.clear,
    "bill-sharing": bill_sharing.clear,
    "hierarchical": hierarchical.clear,
}


def clear(
    mechanism: str, book: OrderBook, rules: MarketRules, grid: Grid | None = None, seed: int = 0
) -> Clearing:
    """Clear ``book``. ``seed`` breaks ties: give every interval its own.

    Pure: the same book in any order of rows gives the same trades. Raises InputError for an unknown
    mechanism.
    """
    chosen, grid = find_mechanism(mechanism), grid or Grid()

    def once(active: Mask) -> Clearing:
        trades = chosen(book, active, rules, grid, seed)
        if grid.joins and chosen is not uniform.clear:  # the uniform auction has it inside
            trades = last_resort(book, active, trades, rules, grid, seed)
        return trades

    trades = whole_blocks(book, once)
    return trades if trades.price is not None else _with_best_orders(trades, rules)


def find_mechanism(name: str) -> Mechanism:
    """The mechanism of this name, or the function that ``module:function`` names.

    Raises InputError that lists the known ones.
    """
    if is_named(name):
        own: Mechanism = named(name, "market.mechanism")
        return own
    if name not in MECHANISMS:
        known = ", ".join(MECHANISMS)
        raise InputError(f"market.mechanism = {name!r}: expected {known}, or module:function")
    return MECHANISMS[name]


def _with_best_orders(trades: Clearing, rules: MarketRules) -> Clearing:
    """Nothing traded: the best bid and the lowest grossed ask are the price signal."""
    book = trades.book
    buys, sells = live_sides(book, np.ones(len(book), bool))
    bid = int(book.price[buys].max()) if len(buys) else None
    ask = int(rules.grossed_ask(book.price[sells]).min()) if len(sells) else None
    return replace(trades, marginal_bid=bid, marginal_ask=ask)
