"""The uniform auction reaches the welfare of the linear programme."""

import numpy as np
from hypothesis import given
from scipy.optimize import linprog

from common.market_rules import MICRO, MILLI_WH_PER_KWH, PPM, MarketRules
from fl_server.market import OrderBook, clear
from tests.support.books import books, hundreds, rules, seeds


def _best_welfare(book: OrderBook, rules: MarketRules) -> float:
    """Currency. Maximise sum(bid * d) - sum(ask' * keep * s), 0 <= d, s <= quantity,
    sum(d) = keep * sum(s): kWh, asks grossed up by loss and margin. Solved by HiGHS."""
    buy, sell = book.side > 0, book.side < 0
    keep = rules.keep_ppm / PPM
    asks = rules.grossed_ask(book.price[sell])
    cost = np.concatenate((-book.price[buy], asks * keep)) / MICRO
    balance = np.concatenate((np.ones(buy.sum()), np.full(sell.sum(), -keep)))[None]
    room = np.concatenate((book.quantity[buy], book.quantity[sell])) / MILLI_WH_PER_KWH
    result = linprog(
        cost, A_eq=balance, b_eq=[0.0], bounds=np.column_stack((0 * room, room)), method="highs"
    )
    assert result.status == 0, result.message
    return float(-result.fun)


@hundreds
@given(book=books(blocks=False), rules=rules, seed=seeds)
def test_uniform_reaches_the_optimum(book: OrderBook, rules: MarketRules, seed: int) -> None:
    """No other trade of the same orders is worth more, and none is made that does not exist.

    Rounding to whole mWh can cost the value of one delivered mWh at most; the solver's own
    tolerance is relative.
    """
    if not (book.side > 0).any() or not (book.side < 0).any():
        return
    trades = clear("uniform", book, rules, seed=seed)
    bids = book.price[trades.buy_order] / MICRO
    asks = rules.grossed_ask(book.price[trades.sell_order]) / MICRO
    welfare = float(((bids - asks) * trades.delivered / MILLI_WH_PER_KWH).sum())
    best = _best_welfare(book, rules)
    dearest = float(np.abs(np.concatenate((book.price, rules.grossed_ask(book.price)))).max())
    one_milliwh = 2 * dearest / MICRO / MILLI_WH_PER_KWH
    # Values as large as the terms whose difference the welfare is.
    scale = 1e-7 * float(1 + (np.abs(bids) * trades.delivered / MILLI_WH_PER_KWH).sum())
    assert best - one_milliwh - scale <= welfare <= best + one_milliwh + scale
