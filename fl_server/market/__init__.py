"""The market: an order book of arrays goes in, trades come out; one mechanism a file, all pure.

``clear(mechanism, book, rules, grid, seed)`` is the one way in.
"""

from collections.abc import Callable
from typing import Final

from common.errors import InputError
from common.market_rules import MarketRules, Mask
from fl_server.market import uniform
from fl_server.market.blocks import whole_blocks
from fl_server.market.book import GRID, Clearing, Fills, Grid, OrderBook

__all__ = ["GRID", "MECHANISMS", "Clearing", "Fills", "Grid", "OrderBook", "clear"]

Mechanism = Callable[[OrderBook, Mask, MarketRules, Grid, int], Clearing]

MECHANISMS: Final[dict[str, Mechanism]] = {
    "uniform": uniform.clear,
}


def clear(
    mechanism: str, book: OrderBook, rules: MarketRules, grid: Grid | None = None, seed: int = 0
) -> Clearing:
    """Clear ``book``. ``seed`` breaks ties: give every interval its own.

    Pure: the same book in any order of rows gives the same trades. Raises InputError for an unknown
    mechanism.
    """
    if mechanism not in MECHANISMS:
        raise InputError(f"market.mechanism = {mechanism!r}: expected {', '.join(MECHANISMS)}")
    grid = grid or Grid()

    def once(active: Mask) -> Clearing:
        return MECHANISMS[mechanism](book, active, rules, grid, seed)

    return whole_blocks(book, once)
