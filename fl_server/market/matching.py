"""Shared steps of the mechanisms: merit order, where demand meets supply, who trades with whom.

Both sides lie on one axis of delivered mWh. Demand is the cumulative sum of the bids' quantities.
Supply is the cumulative sum of *sent* quantities, times (1 - loss), rounded down at each order:
rounding never delivers energy that was not sent.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.arrays import Ints
from common.market_rules import (
    MAX_PRICE_MICRO,
    MILLI_WH_PER_KWH,
    PPM,
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


def merit_order(book: OrderBook, orders: Ints, seed: int) -> Ints:
    """``orders``, all buys or all sells, best price first, ties by lottery, then the larger.

    Price and lottery share one 64-bit key, so one sort does the work of two.
    """
    price = book.price[orders]
    rank = MAX_PRICE_MICRO + np.where(book.side[orders] > 0, -price, price)
    return _ranked(book, orders, (rank << _TIE_BITS) | lottery(book.household[orders], seed))


def lottery_order(book: OrderBook, orders: Ints, seed: int) -> Ints:
    """``orders`` by lottery alone, so that no price decides on who comes first."""
    return _ranked(book, orders, lottery(book.household[orders], seed))


def _ranked(book: OrderBook, orders: Ints, key: Ints) -> Ints:
    """Sort by ``key``; at equal keys, one household's orders, by best price, then largest."""
    order = np.argsort(key)
    ranked = key[order]
    tied = ranked[1:] == ranked[:-1]
    if tied.any():
        spots = np.flatnonzero(np.append(tied, False) | np.insert(tied, 0, False))
        rows = order[spots]
        named = orders[rows]
        best = -book.price[named] * book.side[named]
        size = (book.feeder[named], book.min_milliwh[named], -book.quantity[named])
        keys = (named, *size, best, key[rows])
        order[spots] = rows[np.lexsort(keys)]
    return orders[order]


def live_sides(book: OrderBook, active: Mask) -> tuple[Ints, Ints]:
    """Rows of the active buys and sells; orders for nothing are left out."""
    live = active & (book.quantity > 0)
    return np.flatnonzero(live & (book.side > 0)), np.flatnonzero(live & (book.side < 0))


@dataclass(frozen=True)
class Ladder:
    """Both sides in the order in which they are served, on the axis of delivered mWh.

    ``buys``/``sells``: rows of the book. ``bids``/``asks`` [micro per delivered kWh; asks grossed
    up]. ``demand``/``supply``: cumulative delivered mWh; ``sent``: cumulative sent mWh. ``keep``:
    delivered per sent [ppm]. Where sellers differ in their losses these are arrays: a seller's
    axis starts at ``origin`` delivered and ``sent_origin`` sent mWh.
    """

    buys: Ints
    sells: Ints
    bids: Ints
    asks: Ints
    demand: Ints
    supply: Ints
    sent: Ints
    keep: Ints
    origin: Ints
    sent_origin: Ints


def ladder(book: OrderBook, active: Mask, rules: MarketRules, seed: int) -> Ladder:
    """The active orders of a book in merit order."""
    buys, sells = live_sides(book, active)
    return in_order(book, merit_order(book, buys, seed), merit_order(book, sells, seed), rules)


def in_order(
    book: OrderBook,
    buys: Ints,
    sells: Ints,
    rules: MarketRules,
    *,
    wanted: Ints | None = None,
    offered: Ints | None = None,
) -> Ladder:
    """The ladder of orders that are in the wanted order already.

    ``wanted``/``offered`` [mWh]: quantities that replace those of the book.
    """
    sent = np.cumsum(book.quantity[sells] if offered is None else offered)
    return Ladder(
        buys=buys,
        sells=sells,
        bids=book.price[buys],
        asks=rules.grossed_ask(book.price[sells]),
        demand=np.cumsum(book.quantity[buys] if wanted is None else wanted),
        supply=delivered_of(sent, rules.keep_ppm),
        sent=sent,
        keep=np.broadcast_to(np.int64(rules.keep_ppm), sells.shape),
        origin=np.broadcast_to(np.int64(0), sells.shape),
        sent_origin=np.broadcast_to(np.int64(0), sells.shape),
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
    low, high = int(asks[sell]), int(bids[buy])
    if next_buy < len(bids):
        low = max(low, int(bids[next_buy]))
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
    """Pair the first ``volume`` delivered mWh of both sides."""
    if volume <= 0:
        return Pairs(_NONE, _NONE, _NONE, _NONE)
    demand = book.demand[: int(book.demand.searchsorted(volume))]
    supply = book.supply[: int(book.supply.searchsorted(volume))]
    return pair_up_to(book, np.concatenate((demand, supply, [volume])))


def pair_up_to(book: Ladder, ends: Ints) -> Pairs:
    """Pair along the axis of delivered energy, cut at ``ends``: where orders, or trade, end.

    Each piece has one buyer and one seller. At a seller's end exactly what it offered is sent, at
    a buyer's end the least that delivers the sum so far: delivered and (1 - loss) x sent differ by
    less than 1 mWh in every piece, and never in favour of delivery in all.
    """
    ends = np.sort(ends, kind="stable")  # two sorted runs: a stable sort merges in linear time
    ends = ends[np.diff(ends, prepend=0) > 0]
    buy, sell = book.demand.searchsorted(ends), book.supply.searchsorted(ends)
    new_seller = np.diff(sell, prepend=-1) > 0
    sent_to = book.sent_origin[sell] + sent_for(ends - book.origin[sell], book.keep[sell])
    sent_to = np.where(book.supply[sell] == ends, book.sent[sell], sent_to)
    sent_from = np.concatenate(([0], sent_to))[:-1]
    sent_from = np.where(new_seller, np.concatenate(([0], book.sent))[sell], sent_from)
    starts = np.maximum(np.concatenate(([0], ends))[:-1], book.origin[sell])
    return Pairs(buy, sell, sent_to - sent_from, ends - starts)


def cleared(
    orders: OrderBook,
    book: Ladder,
    pairs: Pairs,
    buy_price: Ints,
    rules: MarketRules,
    sell_price: Ints | None = None,
    signal: tuple[int, int] | None = None,
    feeder_fee: int = 0,
) -> Clearing:
    """Pairs of a ladder as trades; the price is the mean of ``buy_price`` over volume.

    ``sell_price``: by default all of the price but the fees. ``signal``: (marginal bid, marginal
    ask), by default both the price.
    """
    fee = rules.local_fee_micro + feeder_fee
    price = mean_price(buy_price, pairs.delivered)
    bid, ask = signal if signal is not None and price is not None else (price, price)
    return Clearing(
        book=orders,
        buy_order=book.buys[pairs.buy],
        sell_order=book.sells[pairs.sell],
        sent=pairs.sent,
        delivered=pairs.delivered,
        buy_price=buy_price,
        sell_price=buy_price - fee if sell_price is None else sell_price,
        fee=np.full(len(pairs.sent), fee, np.int64),
        keep_ppm=book.keep[pairs.sell],
        price=price,
        marginal_bid=bid,
        marginal_ask=ask,
        local_fee=rules.local_fee_micro,
    )


def without_trade(orders: OrderBook, rules: MarketRules) -> Clearing:
    """A clearing with no trades."""
    none = (_NONE,) * 8
    fee = rules.local_fee_micro
    return Clearing(orders, *none, price=None, marginal_bid=None, marginal_ask=None, local_fee=fee)


def mean_price(price: Ints, energy: Ints) -> int | None:
    """Mean over volume, rounded down; None without volume."""
    volume = int(energy.sum())
    if volume == 0:
        return None
    if price[0] == price[-1] and (price == price[0]).all():
        return int(price[0])
    whole, rest = np.divmod(price * energy, MILLI_WH_PER_KWH)
    return (int(whole.sum()) * MILLI_WH_PER_KWH + int(rest.sum())) // volume


def between(low: int, high: int, k_ppm: int) -> int:
    """The whole micro at share k of the way from ``low`` up to ``high``."""
    return low + (high - low) * k_ppm // PPM
