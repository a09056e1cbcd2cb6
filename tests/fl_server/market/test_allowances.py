"""Allowances share out a cap by the orders, never more than the cap leaves, and not twice."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.market_rules import MWH, MarketRules, Orders, admit
from fl_server.market import OrderBook
from fl_server.market.allowances import allot

RULES = MarketRules()
RETAIL = 300_000


def book(side: list[list[int]], kwh: list[list[float]], price: list[list[float]]) -> OrderBook:
    orders = Orders.of_curves(side, kwh, price, 0)
    return OrderBook.of(admit(orders, RULES, interval=0, households=len(side)))


def test_a_slack_cap_gives_what_is_wanted_and_shares_the_rest() -> None:
    """Wants of 2 and 1 kWh above retail under a cap of 5: price retail, 1 kWh more for each."""
    found = allot(book([[1], [1]], [[2.0], [1.0]], [[0.5], [0.4]]), RULES, 2, RETAIL, 5 * MWH)
    assert found.price == RETAIL
    assert list(found.mwh) == [3 * MWH, 2 * MWH]


def test_a_tight_cap_goes_to_the_highest_bids() -> None:
    """Under a cap of 2 kWh the price rises to the bid of 0.4, which has to wait."""
    found = allot(book([[1], [1]], [[2.0], [1.0]], [[0.5], [0.4]]), RULES, 2, RETAIL, 2 * MWH)
    assert found.price == 400_000
    assert list(found.mwh) == [2 * MWH, 0]


def test_who_sells_makes_room_and_gets_none() -> None:
    """A neighbour sends 2 kWh (1.9 arrive): the buyer of 3 gets 1.9 + the cap of 1, in all 2.9;
    the seller, whose energy that is, may draw nothing."""
    found = allot(book([[1], [-1]], [[3.0], [2.0]], [[0.9], [0.1]]), RULES, 2, RETAIL, MWH)
    assert found.mwh[1] == 0
    assert found.mwh[0] <= 3 * MWH
    assert found.mwh[0] >= int(2.9 * MWH)


def test_bids_below_retail_ask_nothing_of_the_grid() -> None:
    """Who bids less than retail would not draw from the grid: only the equal share is left."""
    found = allot(book([[1], [1]], [[2.0], [1.0]], [[0.2], [0.1]]), RULES, 2, RETAIL, MWH)
    assert list(found.mwh) == [MWH // 2, MWH // 2]


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0.001, 3), st.floats(0.05, 1.0)),
        min_size=1,
        max_size=12,
    ),
    st.floats(0, 5),
)
def test_allowances_fit_under_the_cap(homes: list[tuple[bool, float, float]], cap: float) -> None:
    """Each allowance is at least 0, and together they are at most the cap and what peers send."""
    side = [[1 if buys else -1] for buys, _, _ in homes]
    kwh, price = [[q] for _, q, _ in homes], [[p] for _, _, p in homes]
    found = allot(book(side, kwh, price), RULES, len(homes), RETAIL, round(cap * MWH))
    sent = sum(q for buys, q, _ in homes if not buys) * MWH
    assert np.all(found.mwh >= 0)
    assert found.price >= RETAIL
    assert found.mwh.sum() <= round(cap * MWH) + sent + len(homes)
