"""Shared steps of the mechanisms: merit order, where demand meets supply, who trades with whom.

Both sides lie on one axis of delivered mWh. Demand is the cumulative sum of the bids' quantities.
Supply is the cumulative sum of *sent* quantities, times (1 - loss), rounded down at each order:
rounding never delivers energy that was not sent.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.market_rules import (
    MAX_PRICE_MICRO,
    PPM,
    Ints,
    MarketRules,
    Mask,
    delivered_of,
    sent_for,
)
from fl_server.market.book import Clearing, OrderBook

_TIE_BITS = 33
_TIE_MASK = (1 << _TIE_BITS) - 1
_WEYL = 0x9E3779B97F4A7C15
_NONE = np.zeros(0, np.int64)


def lottery(household: Ints, seed: int) -> Ints:
    """A number below 2**33 per household that the seed decides: equal only for equal households.

    Each step (add, odd multiplication, xor of a right shift) is a bijection of 33-bit numbers, so
    ties break by seed and household alone: not by arrival, and never by price.
    """
    start = (seed * _WEYL + (_WEYL >> 7)) & _TIE_MASK
    x = (household + start) & _TIE_MASK
    for odd in (0x1CE4E5B9, 0x133111EB, 0x1B873593):
        x ^= x >> 15
        x = (x * odd) & _TIE_MASK
    return x ^ (x >> 17)


def merit_order(rank: Ints, orders: Ints, book: OrderBook, seed: int) -> Ints:
    """``orders`` sorted by ``rank`` (ascending, below 2**30.1), ties by lottery, then by size.

    Price and lottery share one 64-bit key: one sort instead of three. Orders that one household
    places at one price are told apart by quantity and minimum; then they are the same order.
    """
    key = (rank << _TIE_BITS) | lottery(book.household[orders], seed)
    order = np.argsort(key)
    ranked = key[order]
    tied = ranked[1:] == ranked[:-1]
    if tied.any():
        spots = np.flatnonzero(np.append(tied, False) | np.insert(tied, 0, False))
        rows = order[spots]
        named = orders[rows]
        keys = (named, book.min_mwh[named], -book.quantity[named], key[rows])
        order[spots] = rows[np.lexsort(keys)]
    return orders[order]


@dataclass(frozen=True)
class Ladder:
    """Both sides in merit order, on the axis of delivered mWh.

    ``bids``/``asks`` [micro per delivered kWh; asks grossed up], ``demand``/``supply``: cumulative
    delivered mWh, ``sent``: cumulative sent mWh behind ``supply``.
    """

    buys: Ints
    sells: Ints
    bids: Ints
    asks: Ints
    demand: Ints
    supply: Ints
    sent: Ints
    keep_ppm: int

    @property
    def best_bid(self) -> int | None:
        """Highest bid, None without one."""
        return int(self.bids[0]) if len(self.bids) else None

    @property
    def best_ask(self) -> int | None:
        """Lowest grossed ask, None without one."""
        return int(self.asks[0]) if len(self.asks) else None


def ladder(book: OrderBook, active: Mask, rules: MarketRules, seed: int) -> Ladder:
    """Sort the active orders of a book; orders for nothing are left out."""
    live = active & (book.quantity > 0)
    buys = np.flatnonzero(live & (book.side > 0))
    sells = np.flatnonzero(live & (book.side < 0))
    buys = merit_order(MAX_PRICE_MICRO - book.price[buys], buys, book, seed)
    sells = merit_order(book.price[sells], sells, book, seed)
    return in_order(book, buys, sells, rules)


def in_order(book: OrderBook, buys: Ints, sells: Ints, rules: MarketRules) -> Ladder:
    """The ladder of orders that are already in the wanted order."""
    sent = np.cumsum(book.quantity[sells])
    return Ladder(
        buys=buys,
        sells=sells,
        bids=book.price[buys],
        asks=rules.grossed_ask(book.price[sells]),
        demand=np.cumsum(book.quantity[buys]),
        supply=delivered_of(sent, rules.keep_ppm),
        sent=sent,
        keep_ppm=rules.keep_ppm,
    )


@dataclass(frozen=True)
class Crossing:
    """Where demand meets supply: ``volume`` delivered mWh, and the competitive prices.

    ``buy``/``sell``: position in the ladder of the marginal (last filled) orders. Any price in
    [``low``, ``high``] leaves nobody wanting more or less than it got.
    """

    volume: int
    buy: int
    sell: int
    low: int
    high: int


def cross(book: Ladder) -> Crossing | None:
    """The largest volume at which every unit's bid is at or above its grossed ask."""
    demand, supply, bids, asks = book.demand, book.supply, book.bids, book.asks
    if not len(demand) or not len(supply):
        return None

    # An order is wholly inside the volume if it clears the order that meets its last unit. Bids
    # fall and asks rise along the ladder, so on each side these orders come first: bisect.
    def buy_inside(i: int) -> bool:
        j = int(supply.searchsorted(demand[i]))
        return j < len(supply) and bool(bids[i] >= asks[j])

    def sell_inside(j: int) -> bool:
        i = int(demand.searchsorted(supply[j]))
        return i < len(demand) and bool(bids[i] >= asks[j])

    whole_buys, whole_sells = _count(buy_inside, len(demand)), _count(sell_inside, len(supply))
    volume = max(
        int(demand[whole_buys - 1]) if whole_buys else 0,
        int(supply[whole_sells - 1]) if whole_sells else 0,
    )
    if volume == 0:
        return None
    buy, sell = int(demand.searchsorted(volume)), int(supply.searchsorted(volume))
    next_buy = buy + int(demand[buy] == volume)
    next_sell = int(supply.searchsorted(volume, side="right"))
    low = max(int(asks[sell]), int(bids[next_buy]) if next_buy < len(bids) else 0)
    high = int(bids[buy])
    if next_sell < len(asks):
        high = min(high, int(asks[next_sell]))
    return Crossing(volume, buy, sell, low, high)


def _count(inside: Callable[[int], bool], n: int) -> int:
    """How many of the first n are inside, when those that are come first."""
    return bisect_left(range(n), True, key=lambda i: not inside(i))


@dataclass(frozen=True)
class Pairs:
    """Who trades with whom: positions in the ladder, sent and delivered mWh."""

    buy: Ints
    sell: Ints
    sent: Ints
    delivered: Ints


def pair(book: Ladder, volume: int) -> Pairs:
    """Cut the axis of delivered energy at every order's end, up to ``volume``.

    Each piece has one buyer and one seller. At a seller's end exactly what it offered is sent, at
    a buyer's end the least that delivers the sum so far: delivered and (1 - loss) x sent differ by
    less than 1 mWh in every piece, and in all never in favour of delivery.
    """
    if volume <= 0:
        return Pairs(_NONE, _NONE, _NONE, _NONE)
    demand = book.demand[: int(book.demand.searchsorted(volume))]
    supply = book.supply[: int(book.supply.searchsorted(volume))]
    # Two sorted runs: a stable sort merges them in linear time.
    ends = np.sort(np.concatenate((demand, supply, [volume])), kind="stable")
    ends = ends[np.diff(ends, prepend=0) > 0]
    buy, sell = book.demand.searchsorted(ends), book.supply.searchsorted(ends)
    sent_to = np.where(book.supply[sell] == ends, book.sent[sell], sent_for(ends, book.keep_ppm))
    new_seller = np.diff(sell, prepend=-1) > 0
    sent_from = np.concatenate(([0], sent_to[:-1]))
    offered_before = np.concatenate(([0], book.sent))[sell]
    sent_from = np.where(new_seller, offered_before, sent_from)
    return Pairs(buy, sell, sent_to - sent_from, np.diff(ends, prepend=0))


def cleared(
    orders: OrderBook,
    book: Ladder,
    pairs: Pairs,
    buy_price: Ints,
    sell_price: Ints,
    *,
    price: int | None,
    signal: tuple[int | None, int | None],
    fee: Ints | None = None,
) -> Clearing:
    """Pairs of a ladder as trades of the book."""
    rows = len(pairs.sent)
    return Clearing(
        book=orders,
        buy_order=book.buys[pairs.buy],
        sell_order=book.sells[pairs.sell],
        sent=pairs.sent,
        delivered=pairs.delivered,
        buy_price=buy_price,
        sell_price=sell_price,
        fee=np.zeros(rows, np.int64) if fee is None else fee,
        keep_ppm=np.full(rows, book.keep_ppm, np.int64),
        price=price,
        marginal_bid=signal[0],
        marginal_ask=signal[1],
    )


def between(low: int, high: int, k_ppm: int) -> int:
    """The whole micro at share k of the way from ``low`` up to ``high``."""
    return low + (high - low) * k_ppm // PPM
