"""Allowances under a community cap: who may draw how much from the grid in one interval.

Households bid above retail for energy they would rather pay dearly for than miss. The market
looks for the lowest price, from retail up, at which what they still want from the grid fits under
the cap. What a household wants at that price is its allowance, and what the cap leaves over is
shared equally. Peers trade at most at that price, and a household that sells gets that much less
allowance: nobody sells the cap's headroom and uses it too. Imports beyond an allowance are
charged at a scarcity price. An allowance is about the flow at the household's own connection,
peers' energy included. Households reveal nothing for it beyond the orders they send anyway.
"""

from dataclasses import dataclass

import numpy as np

from common.market_rules import Ints, MarketRules, delivered_of
from fl_server.market.book import OrderBook


@dataclass(frozen=True)
class Allowances:
    """price: micro per kWh, retail while the cap does not bind; kwh mWh (H,) per household."""

    price: int
    mwh: Ints


def allot(
    book: OrderBook, rules: MarketRules, households: int, retail: int, cap_mwh: int
) -> Allowances:
    """Share out ``cap_mwh`` of imports among ``households`` by their orders.

    ``retail`` in micro per kWh. If even the highest bids want more than the cap, what they want
    is cut in proportion.
    """
    buys, sells = book.side > 0, book.side < 0
    ask = rules.grossed_ask(book.price)
    arriving = np.where(sells, delivered_of(book.quantity, rules.keep_ppm), 0)

    def wanted(price: int) -> int:
        bought = int(book.quantity[buys & (book.price > price)].sum())
        return bought - int(arriving[sells & (ask <= price)].sum())

    prices = np.unique(np.concatenate((book.price[buys], ask[sells])))
    prices = prices[prices > retail]
    price = retail
    if wanted(retail) > cap_mwh and len(prices):
        low, high = 0, len(prices) - 1  # the answer, if any, is prices[high] or below
        while low < high:
            middle = (low + high) // 2
            if wanted(int(prices[middle])) > cap_mwh:
                low = middle + 1
            else:
                high = middle
        price = int(prices[high])
    sold = np.where(sells & (ask <= price), book.quantity, 0)
    room = cap_mwh - wanted(price)
    net = np.zeros(households, np.int64)
    np.add.at(net, book.household, np.where(buys & (book.price > price), book.quantity, 0) - sold)
    positive = np.maximum(net, 0)
    if room < 0:
        total = int(positive.sum())
        part = max(total + room, 0) / max(total, 1)
        return Allowances(price, np.floor(positive * part).astype(np.int64))
    # Bids exactly at the price come next, then everybody alike.
    last = np.zeros(households, np.int64)
    np.add.at(last, book.household, np.where(buys & (book.price == price), book.quantity, 0))
    asked = int(last.sum())
    given = last if asked <= room else np.floor(last * (room / asked)).astype(np.int64)
    net = net + given + (room - int(given.sum())) // households
    return Allowances(price, np.maximum(net, 0))
