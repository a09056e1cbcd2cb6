"""Feeders first: a uniform auction in every feeder, then one across feeders for what is left.

Energy that crosses feeders loses ``feeder_loss`` more and pays ``feeder_fee`` per delivered kWh to
the market's operator; both widen the wedge of the second auction. All feeders are cleared at once:
their axes of delivered energy lie end to end on one, each at its own origin.
"""

from dataclasses import replace

import numpy as np

from common.arrays import Ints
from common.market_rules import (
    MAX_FEEDER,
    PPM,
    MarketRules,
    Mask,
    delivered_of,
    gross_up,
    to_micro,
)
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.joining import join
from fl_server.market.matching import (
    Ladder,
    between,
    cleared,
    cross,
    in_order,
    live_sides,
    merit_order,
    pair,
    pair_up_to,
    without_trade,
)


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders within feeders, then across them."""
    buys, sells = live_sides(book, active)
    buys, sells = merit_order(book, buys, seed), merit_order(book, sells, seed)
    within = _within_feeders(book, buys, sells, rules)
    if not len(book) or (book.feeder == book.feeder[0]).all():
        return within
    left = book.quantity - within.filled
    across = _across_feeders(
        replace(book, quantity=left), buys[left[buys] > 0], sells[left[sells] > 0], rules
    )
    return join(book, (within, across))


def _within_feeders(book: OrderBook, buys: Ints, sells: Ints, rules: MarketRules) -> Clearing:
    """A uniform auction per feeder; ``buys``/``sells`` in merit order."""
    buys, buy_feeder = _by_feeder(book, buys)
    sells, sell_feeder = _by_feeder(book, sells)
    flat = in_order(book, buys, sells, rules)
    if not len(buys) or not len(sells):
        return without_trade(book, rules)

    # Each feeder's own axis: cumulative sums that start at its first order.
    feeders = np.arange(int(max(buy_feeder[-1], sell_feeder[-1])) + 1)
    demand_before, demand_all = _bounds(flat.demand, buy_feeder, feeders)
    sent_before, sent_all = _bounds(flat.sent, sell_feeder, feeders)
    demand = flat.demand - demand_before[buy_feeder]
    sent = flat.sent - sent_before[sell_feeder]
    supply = delivered_of(sent, rules.keep_ppm)
    length = np.maximum(
        demand_all - demand_before, delivered_of(sent_all - sent_before, rules.keep_ppm)
    )
    origin = np.cumsum(length) - length
    steps = replace(
        flat,
        demand=demand + origin[buy_feeder],
        supply=supply + origin[sell_feeder],
        origin=origin[sell_feeder],
        sent_origin=sent_before[sell_feeder],
    )
    end, price = _cross_all(steps, buy_feeder, sell_feeder, origin, rules)
    ends = (
        steps.demand[steps.demand < end[buy_feeder]],
        # A seller so small that it delivers nothing may end where its feeder's axis starts.
        steps.supply[(steps.supply > steps.origin) & (steps.supply < end[sell_feeder])],
        end[end > origin],
    )
    pairs = pair_up_to(steps, np.concatenate(ends))
    prices = price[buy_feeder[pairs.buy]]
    return cleared(book, steps, pairs, prices, rules)


def _by_feeder(book: OrderBook, orders: Ints) -> tuple[Ints, Ints]:
    """Orders grouped by feeder, merit order kept inside, and their feeders."""
    assert MAX_FEEDER < 1 << 16  # a stable sort of 16-bit numbers takes linear time
    feeder = book.feeder[orders].astype(np.uint16)
    order = np.argsort(feeder, kind="stable")
    return orders[order], feeder[order].astype(np.int64)


def _bounds(cumulative: Ints, feeder: Ints, feeders: Ints) -> tuple[Ints, Ints]:
    """The running total before and after each feeder's orders."""
    padded = np.concatenate(([0], cumulative))
    first, last = feeder.searchsorted(feeders), feeder.searchsorted(feeders, side="right")
    return padded[first], padded[last]


def _cross_all(
    steps: Ladder, buy_feeder: Ints, sell_feeder: Ints, origin: Ints, rules: MarketRules
) -> tuple[Ints, Ints]:
    """Where trade ends on each feeder's axis (its origin: no trade), and each feeder's price."""
    demand, supply, bids, asks = steps.demand, steps.supply, steps.bids, steps.asks
    n, m = len(demand), len(supply)
    met = supply.searchsorted(demand)
    at = np.minimum(met, m - 1)
    whole_buy = (met < m) & (sell_feeder[at] == buy_feeder) & (bids >= asks[at])
    met = demand.searchsorted(supply)
    at = np.minimum(met, n - 1)
    whole_sell = (met < n) & (buy_feeder[at] == sell_feeder) & (bids[at] >= asks)
    end = origin.copy()
    np.maximum.at(end, buy_feeder[whole_buy], demand[whole_buy])
    np.maximum.at(end, sell_feeder[whole_sell], supply[whole_sell])

    traded = np.flatnonzero(end > origin)
    volume = end[traded]
    buy, sell = demand.searchsorted(volume), supply.searchsorted(volume)
    next_buy = buy + (demand[buy] == volume)
    next_sell = supply.searchsorted(volume, side="right")
    low, high = asks[sell], bids[buy]
    at = np.minimum(next_buy, n - 1)
    here = (next_buy < n) & (buy_feeder[at] == traded)
    low = np.where(here, np.maximum(low, bids[at]), low)
    at = np.minimum(next_sell, m - 1)
    here = (next_sell < m) & (sell_feeder[at] == traded)
    high = np.where(here, np.minimum(high, asks[at]), high)
    price = np.zeros(len(origin), np.int64)
    price[traded] = low + (high - low) * rules.k_ppm // PPM
    return end, price


def _across_feeders(book: OrderBook, buys: Ints, sells: Ints, rules: MarketRules) -> Clearing:
    """A uniform auction of what is left, with the wider wedge; orders in merit order."""
    keep = rules.keep_ppm * (PPM - round(rules.feeder_loss * PPM)) // PPM
    fee = to_micro(rules.feeder_fee)
    steps = in_order(book, buys, sells, rules)
    asks = gross_up(book.price[sells], keep, rules.margin_ppm, rules.local_fee_micro + fee)
    steps = replace(
        steps,
        asks=asks,
        supply=delivered_of(steps.sent, keep),
        keep=np.broadcast_to(np.int64(keep), sells.shape),
    )
    crossing = cross(steps)
    if crossing is None:
        return without_trade(book, rules)
    pairs = pair(steps, crossing.volume)
    price = between(crossing.low, crossing.high, rules.k_ppm)
    buy_price = np.full(len(pairs.sent), price, np.int64)
    return cleared(book, steps, pairs, buy_price, rules, feeder_fee=fee)
