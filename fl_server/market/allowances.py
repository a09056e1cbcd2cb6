"""Import allowances under a community cap: who may draw how much from the grid this interval.

The orders are demand curves. The allowance price is the lowest price, from retail up, at which
what they still want from the grid fits under the cap. Peers trade at most at that price. What a
household wanted at more than that and did not get from a peer is its allowance, and what the cap
leaves over is shared equally. All allowances together are at most the cap, so the community holds
it if everybody keeps to the own one. An allowance is about energy from the grid: who sells and
does not deliver draws the shortfall from it, so nobody sells the cap's headroom and uses it too.
Households reveal nothing for it beyond the orders they send anyway.
"""

from dataclasses import dataclass, replace

import numpy as np

from common.arrays import Ints
from common.market_rules import MarketRules, Mask, delivered_of
from fl_server.market import clear
from fl_server.market.book import Clearing, Grid, OrderBook


@dataclass(frozen=True)
class Capped:
    """A clearing under a cap: allowances mWh (H,) and the allowance price, micro per kWh.

    The price is retail while the cap does not bind. ``signal``: the public (buy, sell) price.
    """

    clearing: Clearing
    milliwh: Ints
    price: int
    signal: tuple[int, int]


def clear_under_cap(
    mechanism: str,
    book: OrderBook,
    rules: MarketRules,
    grid: Grid,
    seed: int,
    *,
    cap_milliwh: int,
    ceiling: int,
    answered: Mask,
) -> Capped:
    """Clear ``book`` with nobody paying more than the allowance price, and share out the cap.

    ``ceiling``: micro per kWh that imports beyond an allowance cost; no energy is worth more.
    ``answered`` (H,): households in the round. The others hear nothing in time, so each has its
    equal share of the cap, which it knows. The grid sells nothing in this market: what
    households draw from it their meters tell. ``grid.export_cap`` works as in every clearing.
    """
    households = len(answered)
    share = cap_milliwh // max(households, 1)
    room = cap_milliwh - share * int((~answered).sum())
    price = allowance_price(book, rules, grid.retail, room, ceiling)
    scarce = price > grid.retail
    grid = replace(grid, retail=price, import_cap=None if grid.export_cap is None else 0)
    cut = np.where(book.side > 0, np.minimum(book.price, price), book.price)
    clearing = clear(mechanism, replace(book, price=cut), rules, grid, seed)
    left = np.where(book.side > 0, book.quantity - clearing.filled, 0)

    def wants(which: Mask) -> Ints:
        out = np.zeros(households, np.int64)
        np.add.at(out, book.household[which], left[which])
        return out

    milliwh = np.where(answered, 0, share)
    for wanted in (wants(book.price > price), wants(book.price == price)):
        given = _at_most(wanted, room)
        milliwh, room = milliwh + given, room - int(given.sum())
    count = int(answered.sum())
    if count:
        milliwh = milliwh + np.where(answered, room // count, 0)
    buy, sell = clearing.signal(grid, rules.keep_ppm)
    # Scarcity: the next kWh costs what the cap makes it cost.
    return Capped(clearing, milliwh, price, (max(buy, price) if scarce else buy, sell))


def allowance_price(
    book: OrderBook, rules: MarketRules, retail: int, cap_milliwh: int, ceiling: int
) -> int:
    """The lowest price from ``retail`` to ``ceiling`` at which the orders leave the cap alone.

    Wanted from the grid at a price: what bids above it want, less what asks up to it deliver.
    """
    buys, sells = book.side > 0, book.side < 0
    ask = rules.grossed_ask(book.price)
    arriving = np.where(sells, delivered_of(book.quantity, rules.keep_ppm), 0)

    def fits(price: int) -> bool:
        bought = int(book.quantity[buys & (book.price > price)].sum())
        return bought - int(arriving[sells & (ask <= price)].sum()) <= cap_milliwh

    if fits(retail):
        return retail
    prices = np.unique(np.concatenate((book.price[buys], ask[sells])))
    prices = prices[prices > retail]
    low, high = 0, len(prices) - 1  # nothing is wanted above the highest bid
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(int(prices[middle])) else (middle + 1, high)
    return min(int(prices[high]), max(ceiling, retail))


def _at_most(wanted: Ints, room: int) -> Ints:
    """What is wanted, cut in proportion where it is more than ``room``."""
    total = int(wanted.sum())
    if total <= room:
        return wanted
    return np.array([w * room // total for w in wanted.tolist()], np.int64)
