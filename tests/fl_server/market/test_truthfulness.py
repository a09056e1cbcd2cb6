"""McAfee and MUDA: no household gains by stating another price than its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market_rules import MAX_PRICE_MICRO, MarketRules
from fl_server.market import Clearing, OrderBook, clear
from tests.support.books import books, hundreds, seeds


def _gain(trades: Clearing, household: int, true_price: np.ndarray) -> int:
    """Gain in 1e-12 currency of a household whose orders are worth ``true_price`` to it."""
    book = trades.book
    buys = trades.buy_order[book.household[trades.buy_order] == household]
    bought = book.household[trades.buy_order] == household
    sold = book.household[trades.sell_order] == household
    value = (true_price[buys] - trades.buy_price[bought]) * trades.delivered[bought]
    earned = trades.sell_price[sold] * trades.delivered[sold]
    cost = true_price[trades.sell_order[sold]] * trades.sent[sold]
    return sum(value.tolist()) + sum((earned - cost).tolist())


def _trades(trades: Clearing, household: int) -> int:
    """How many trades a household has."""
    who = trades.book.household
    return int(((who[trades.buy_order] == household) | (who[trades.sell_order] == household)).sum())


def _candidates(book: OrderBook, true_price: int) -> np.ndarray:
    """Every price at which the outcome can change, seen from both sides, and the extremes."""
    highest = [MarketRules().highest_ask(price) for price in book.price.tolist()]
    seen = np.concatenate((book.price, MarketRules().grossed_ask(book.price), highest))
    near = np.concatenate((seen - 1, seen, seen + 1, [0, true_price // 2, MAX_PRICE_MICRO]))
    return np.unique(np.clip(near, 0, MAX_PRICE_MICRO))


def _best_misreport(mechanism: str, book: OrderBook, who: int, seed: int, most: int) -> int:
    """Most that a household gains by shifting all its prices; quantities are fixed."""
    rules = MarketRules()
    mine = np.flatnonzero(book.household == who)
    honest = clear(mechanism, book, rules, seed=seed)
    truth = _gain(honest, who, book.price)
    prices = _candidates(book, int(book.price[mine[0]]))
    if len(prices) > most:
        prices = np.random.default_rng(seed).choice(prices, most, replace=False)
    best = 0
    for stated in prices:
        price = book.price.copy()
        price[mine] = np.clip(price[mine] + stated - price[mine[0]], 0, MAX_PRICE_MICRO)
        lie = clear(mechanism, replace(book, price=price), rules, seed=seed)
        # Energy is whole mWh: each of its trades, or the lack of one, may be a mWh off what its
        # quantity and its share come to, and a mWh is worth its own price or the market's, of
        # either sign.
        trades = 1 + sum(_trades(c, who) for c in (honest, lie))
        paid = [price for c in (honest, lie) for price in (c.buy_price, c.sell_price)]
        dearest = int(np.abs(np.concatenate([*paid, book.price[mine]])).max())
        grain = trades * dearest
        # Prices are whole micro per kWh: earnings round up to the next.
        grain += int(book.quantity[mine].sum())
        best = max(best, _gain(lie, who, book.price) - truth - grain)
    return best


@pytest.mark.parametrize("mechanism", ["mcafee", "muda"])
@hundreds
@given(book=books(blocks=False, one_each=True), seed=seeds, data=st.data())
def test_truth_is_the_best_report(
    mechanism: str, book: OrderBook, seed: int, data: st.DataObject
) -> None:
    """One order per household: searching all prices where anything can change (a sample of 40 in
    larger books) finds none that pays, to the grain of whole mWh and whole micro per kWh."""
    if not len(book):
        return
    who = data.draw(st.integers(0, len(book) - 1))
    assert _best_misreport(mechanism, book, who, seed, most=40) <= 0


@hundreds
@given(book=books(blocks=False), seed=seeds, data=st.data())
def test_muda_needs_no_lie_from_curves(book: OrderBook, seed: int, data: st.DataObject) -> None:
    """Households with several steps: shifting the whole curve does not pay under MUDA either."""
    if not len(book):
        return
    who = int(book.household[data.draw(st.integers(0, len(book) - 1))])
    assert _best_misreport("muda", book, who, seed, most=40) <= 0


@pytest.mark.parametrize("mechanism", ["uniform", "pay-as-bid"])
def test_the_search_finds_lies_where_they_pay(mechanism: str) -> None:
    """The search can fail: two buyers (0.30, 0.20), two sellers (0.10, 0.15), 1 kWh each. The
    buyer at 0.30 pays less if it states less, in both mechanisms that let its bid set a price."""
    book = OrderBook(
        np.arange(4),
        np.array([1, 1, -1, -1], np.int8),
        np.array([950_000, 950_000, 1_000_000, 1_000_000]),
        np.array([300_000, 200_000, 100_000, 150_000]),
        np.zeros(4, np.int64),
        np.zeros(4, np.int64),
    )
    gains = [_best_misreport(mechanism, book, who, 1, most=1_000) for who in range(4)]
    assert max(gains) > 0
