"""Bill sharing by the supply-demand ratio: the price falls from retail to feed-in as supply grows.

Liu, Yu, Wang, Li, Ma and Lei (2017), "Energy-sharing model with price-based demand response":
with the ratio x of supply to demand and feed-in f (per delivered kWh, so over 1 - loss),

    price = f * r / ((r - f) * x + f)   for x <= 1,   f   for x > 1.

That is a mean of positive prices; where one of the two is below zero the price falls in a straight
line instead, ``r - (r - f) * x``. A local fee counts as part of f: the buyer pays it.

The paper's households take any price; here orders carry limits, so the ratio is that of the
orders willing at the price, and the price is the one that agrees with its own ratio. The longer
side shares in proportion to quantity.
"""

from bisect import bisect_left

import numpy as np

from common.market_rules import PPM, MarketRules, Mask, delivered_of
from fl_server.market.book import Clearing, Grid, OrderBook
from fl_server.market.matching import live_sides
from fl_server.market.sharing import trade_at, willing


def clear(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid, seed: int) -> Clearing:
    """Clear the active orders at the price that agrees with its supply-demand ratio."""
    price = consistent_price(book, active, rules, grid)
    buys, sells = willing(book, active, rules, price, price)
    return trade_at(
        book,
        buys,
        sells,
        rules,
        seed,
        buy_price=price,
        sell_price=price - rules.local_fee_micro,
        longer_side="shares",
    )


def consistent_price(book: OrderBook, active: Mask, rules: MarketRules, grid: Grid) -> int:
    """The lowest price that is at least the ratio price of the orders willing at it.

    A higher price brings supply and drives off demand, so the ratio price falls as the price
    rises and the two cross once: bisection over whole micro.
    """
    buys, sells = live_sides(book, active)
    by_bid = buys[np.argsort(book.price[buys])]
    by_ask = sells[np.argsort(book.price[sells])]
    bids, asks = book.price[by_bid], rules.grossed_ask(book.price[by_ask])
    wanted = np.concatenate(([0], np.cumsum(book.quantity[by_bid])))
    offered = np.concatenate(([0], np.cumsum(book.quantity[by_ask])))
    supplied = delivered_of(offered, rules.keep_ppm)

    retail = grid.retail
    feed_in = min(-(-grid.feed_in * PPM // rules.keep_ppm) + rules.local_fee_micro, retail)

    def agrees(price: int) -> bool:
        demand = int(wanted[-1] - wanted[bids.searchsorted(price)])
        supply = int(supplied[asks.searchsorted(price, side="right")])
        return price >= ratio_price(supply, demand, retail, feed_in)

    return feed_in + bisect_left(range(feed_in, retail), True, key=agrees)


def ratio_price(supply: int, demand: int, retail: int, feed_in: int) -> int:
    """The paper's internal price in whole micro; quantities in delivered mWh."""
    if supply == 0:
        return retail
    if supply >= demand:
        return feed_in
    if feed_in < 0 or retail <= 0:
        return retail - (retail - feed_in) * supply // demand
    return feed_in * retail * demand // ((retail - feed_in) * supply + feed_in * demand)
