"""Trade at a price that is given: who may, and how the longer side shares what there is."""

from typing import Literal

import numpy as np

from common.arrays import Ints
from common.market_rules import MarketRules, Mask, delivered_of, sent_for
from fl_server.market.book import Clearing, OrderBook
from fl_server.market.matching import cleared, in_order, live_sides, lottery_order, pair

_DIGIT = 10  # bits of a digit of the long division in ``portion``


def willing(
    book: OrderBook, active: Mask, rules: MarketRules, buy_price: int, sell_price: int
) -> tuple[Ints, Ints]:
    """Rows of the buys that bid ``buy_price`` or more, the sells that ask ``sell_price`` or less.

    Both prices per delivered kWh, all-in.
    """
    buys, sells = live_sides(book, active)
    asks = rules.grossed_ask(book.price[sells])
    return buys[book.price[buys] >= buy_price], sells[asks <= sell_price]


def trade_at(
    book: OrderBook,
    buys: Ints,
    sells: Ints,
    rules: MarketRules,
    seed: int,
    *,
    buy_price: int,
    sell_price: int,
    longer_side: Literal["shares", "queues"],
) -> Clearing:
    """All of ``buys`` and ``sells`` trade at the given prices, as far as the shorter side reaches.

    ``buy_price`` is all-in, ``sell_price`` what the seller earns, both per delivered kWh.
    The longer side *shares*, each in proportion to its quantity, or *queues* in an order drawn
    by lot. Neither looks at prices, so a price report decides only on whether one trades.
    """
    buys, sells = lottery_order(book, buys, seed), lottery_order(book, sells, seed)
    wanted, offered = book.quantity[buys], book.quantity[sells]
    demand, sent = int(wanted.sum()), int(offered.sum())
    supply = int(delivered_of(np.array(sent), rules.keep_ppm))
    if longer_side == "shares":
        if demand > supply:
            wanted = portion(wanted, supply)
        elif demand < supply:
            offered = portion(offered, int(sent_for(np.array(demand), rules.keep_ppm)))
    steps = in_order(book, buys, sells, rules, wanted=wanted, offered=offered)
    pairs = pair(steps, min(demand, supply))
    rows = len(pairs.sent)
    return cleared(
        book,
        steps,
        pairs,
        np.full(rows, buy_price, np.int64),
        rules,
        np.full(rows, sell_price, np.int64),
        signal=(sell_price + rules.local_fee_micro, buy_price),
    )


def portion(quantity: Ints, total: int) -> Ints:
    """Shares of ``total`` in proportion to ``quantity``: whole mWh that sum to it exactly.

    Cumulative shares ``cumsum(quantity) * total / sum(quantity)`` are rounded down. The product
    needs up to 100 bits, so the division is done by digits of 10 bits; sums stay below 2**52.
    """
    cumulative = np.cumsum(quantity)
    whole = int(cumulative[-1]) if len(cumulative) else 0
    if whole == 0 or total >= whole:
        return quantity
    digits = -(-whole.bit_length() // _DIGIT)
    share, rest = np.zeros_like(cumulative), np.zeros_like(cumulative)
    for digit in reversed(range(digits)):
        part = (cumulative >> (digit * _DIGIT)) & ((1 << _DIGIT) - 1)
        rest = (rest << _DIGIT) + part * total
        quotient, rest = np.divmod(rest, whole)
        share = (share << _DIGIT) + quotient
    return np.diff(share, prepend=0)
