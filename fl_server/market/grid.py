"""The grid as the last-resort counterparty, behind a transformer of limited capacity.

It sells at retail and buys at feed-in, without the peers' loss and margin. The community can take
``import_cap`` from it and give it ``export_cap`` [mWh per interval]. When the import cap binds,
the price rises until demand fits; when the export cap binds, sellers earn less than feed-in.
What users pay above retail, or earn below feed-in, is the transformer's scarcity rent and stays
in the market's account.
"""

from dataclasses import replace

import numpy as np

from common.arrays import Ints
from common.market_rules import MAX_PRICE_MICRO, PPM, MarketRules, Mask, delivered_of
from fl_server.market.book import GRID, Clearing, Grid, OrderBook
from fl_server.market.joining import join
from fl_server.market.matching import (
    Crossing,
    Ladder,
    between,
    cleared,
    cross,
    ladder,
    live_sides,
    mean_price,
    merit_order,
    pair,
    without_trade,
)


def uniform_with_grid(
    book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int
) -> Clearing:
    """One price for all, the grid being one more seller and one more buyer.

    At equal prices peers come first. Where feed-in is so near retail that the grid would trade
    with itself (net metering), it only sells in the auction, and buys what is left after it.
    """
    steps = _grid_sells(ladder(book, active, rules, seed), grid)
    if int(rules.grossed_ask(np.array(grid.feed_in))) < grid.retail:
        return _at_one_price(book, _grid_buys(steps, rules, grid), rules, grid)
    trades = _at_one_price(book, steps, rules, grid)
    return last_resort(book, active, trades, rules, replace(grid, import_cap=0), seed)


def _at_one_price(book: OrderBook, steps: Ladder, rules: MarketRules, grid: Grid) -> Clearing:
    crossing = cross(steps)
    if crossing is None:
        return without_trade(book, rules)
    pairs = pair(steps, crossing.volume)
    price = _price(steps, crossing, rules, grid)
    to_grid, from_grid = steps.buys[pairs.buy] == GRID, steps.sells[pairs.sell] == GRID
    # A seller earns (price - fee) * (1 - loss) per sent kWh whoever buys, never more than feed-in
    # from the grid; the grid takes energy at the seller's door, so there is no loss.
    earned = price - rules.local_fee_micro
    earned_at_door = min(earned * rules.keep_ppm // PPM, grid.feed_in)
    pairs = replace(pairs, delivered=np.where(to_grid, pairs.sent, pairs.delivered))
    buy_price = np.where(to_grid, grid.feed_in, price)
    sell_price = np.where(to_grid, earned_at_door, np.where(from_grid, grid.retail, earned))
    trades = cleared(book, steps, pairs, buy_price, rules, sell_price, signal=(price, price))
    keep = np.where(to_grid, PPM, trades.keep_ppm)
    fee = np.where(to_grid | from_grid, 0, trades.fee)
    return replace(trades, keep_ppm=keep, price=price, fee=fee)


def _grid_sells(steps: Ladder, grid: Grid) -> Ladder:
    """Put the grid among the sellers: after those who ask no more than retail."""
    wanted = int(steps.demand[-1]) if len(steps.demand) else 0
    offer = wanted + 1 if grid.import_cap is None else min(grid.import_cap, wanted + 1)
    at = int(steps.asks.searchsorted(grid.retail, side="right"))
    supplied = int(steps.supply[at - 1]) if at else 0
    sent = int(steps.sent[at - 1]) if at else 0

    def insert(values: Ints, own: int, shift: int = 0) -> Ints:
        return np.concatenate((values[:at], [own], values[at:] + shift))

    return replace(
        steps,
        sells=insert(steps.sells, GRID),
        asks=insert(steps.asks, grid.retail),
        supply=insert(steps.supply, supplied + offer, offer),
        sent=insert(steps.sent, sent + offer, offer),
        keep=insert(steps.keep, PPM),
        origin=insert(steps.origin, supplied, offer),
        sent_origin=insert(steps.sent_origin, sent, offer),
    )


def _grid_buys(steps: Ladder, rules: MarketRules, grid: Grid) -> Ladder:
    """Put the grid among the buyers: its bid lets in every ask up to feed-in, without margin."""
    offered = int(steps.supply[-1])
    room = offered + 1
    if grid.export_cap is not None:
        # Sent energy rounds up by less than 1 mWh at the end of the grid's piece.
        cap = delivered_of(np.array(max(grid.export_cap - 1, 0)), rules.keep_ppm)
        room = min(int(cap), room)
    bid = int(rules.grossed_ask(np.array(grid.feed_in)))
    at = len(steps.bids) - int(steps.bids[::-1].searchsorted(bid))
    before = int(steps.demand[at - 1]) if at else 0
    return replace(
        steps,
        buys=np.insert(steps.buys, at, GRID),
        bids=np.insert(steps.bids, at, bid),
        demand=np.concatenate((steps.demand[:at], [before + room], steps.demand[at:] + room)),
    )


def _price(steps: Ladder, crossing: Crossing, rules: MarketRules, grid: Grid) -> int:
    """The uniform price, tied to retail and feed-in where the grid is not used up."""
    price = between(crossing.low, crossing.high, rules.k_ppm)
    buyer, seller = steps.buys[crossing.buy], steps.sells[crossing.sell]
    if seller == GRID and crossing.low == grid.retail:
        price = grid.retail  # whoever would pay more is served: the cap does not bind
    exported = (steps.buys[: crossing.buy + 1] == GRID).any()
    if exported:
        # Earns feed-in after fee and loss.
        fair = -(-grid.feed_in * PPM // rules.keep_ppm) + rules.local_fee_micro
        used_up = buyer != GRID or steps.demand[crossing.buy] == crossing.volume
        price = min(price, fair) if used_up else fair
    return min(price, MAX_PRICE_MICRO)


def last_resort(
    book: OrderBook, active: Mask, trades: Clearing, rules: MarketRules, grid: Grid, seed: int
) -> Clearing:
    """After peers have traded by any mechanism, the grid serves what they left.

    Buys that bid retail or more, dearest first; sells that ask feed-in or less, cheapest first. If
    a cap leaves some of them out, those served pay (or earn) a price between the last order
    served and the first left out.
    """
    left = replace(book, quantity=book.quantity - trades.filled)
    buys, sells = live_sides(left, active)
    buys = merit_order(left, buys[book.price[buys] >= grid.retail], seed)
    sells = merit_order(left, sells[book.price[sells] <= grid.feed_in], seed)
    taken, pay = _ration(left, buys, grid.import_cap, grid.retail, rules)
    given, earn = _ration(left, sells, grid.export_cap, grid.feed_in, rules)
    buys, sells = buys[: len(taken)], sells[: len(given)]
    energy = np.concatenate((taken, given))
    with_grid = Clearing(
        book=book,
        buy_order=np.concatenate((buys, np.full_like(sells, GRID))),
        sell_order=np.concatenate((np.full_like(buys, GRID), sells)),
        sent=energy,
        delivered=energy,
        buy_price=np.concatenate((np.full_like(taken, pay), np.full_like(given, grid.feed_in))),
        sell_price=np.concatenate((np.full_like(taken, grid.retail), np.full_like(given, earn))),
        fee=np.zeros_like(energy),
        keep_ppm=np.full_like(energy, PPM),
        price=None,
        marginal_bid=None,
        marginal_ask=None,
    )
    joined = join(book, (trades, with_grid))
    if trades.price is None:  # peers did not trade: what the grid asked is the price
        bought = mean_price(with_grid.buy_price[: len(taken)], taken)
        return replace(joined, price=bought, marginal_bid=bought, marginal_ask=bought)
    return replace(
        joined,
        price=trades.price,
        marginal_bid=trades.marginal_bid,
        marginal_ask=trades.marginal_ask,
    )


def _ration(
    left: OrderBook, orders: Ints, cap: int | None, price: int, rules: MarketRules
) -> tuple[Ints, int]:
    """Energy of the first orders under ``cap`` and the price they meet: ``price`` if all fit."""
    total = np.cumsum(left.quantity[orders])
    if cap is None or not len(total) or total[-1] <= cap:
        return left.quantity[orders], price
    if cap == 0:
        return orders[:0], price
    last = int(total.searchsorted(cap))
    energy = np.diff(np.append(total[:last], cap), prepend=0)
    out = last + int(total[last] == cap)  # the first that is not wholly served
    low, high = sorted((int(left.price[orders[last]]), int(left.price[orders[out]])))
    return energy, between(low, high, rules.k_ppm)
