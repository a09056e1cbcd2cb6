"""Allowances share out a cap by the orders, never more than the cap, and not twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market_rules import MILLI_WH_PER_KWH, MarketRules, Orders, admit
from fl_server.market import MECHANISMS, Grid, OrderBook
from fl_server.market.allowances import Capped, clear_under_cap
from tests.support.books import hundreds

RULES = MarketRules()
RETAIL = 300_000
GRID = Grid(RETAIL, 50_000)
Rows = list[list[float]]


def allot(
    side: list[list[int]],
    kwh: Rows,
    price: Rows,
    cap_milliwh: int,
    *,
    mechanism: str = "uniform",
    ceiling: int = 10_000_000,
    away: int = 0,
) -> Capped:
    """The allowances of these households' orders, the last ``away`` of them not in the round."""
    answered = np.arange(len(side) + away) < len(side)
    curves = (np.reshape(one, (-1, 1)) for one in (side, kwh, price))
    orders = Orders.of_curves(*curves, interval=0)
    book = OrderBook.of(admit(orders, RULES, interval=0, households=len(side)))
    return clear_under_cap(
        mechanism, book, RULES, GRID, 0, cap_milliwh=cap_milliwh, ceiling=ceiling, answered=answered
    )


def test_a_slack_cap_gives_what_is_wanted_and_shares_the_rest() -> None:
    """Wants of 2 and 1 kWh above retail under a cap of 5: price retail, 1 kWh more for each."""
    found = allot([[1], [1]], [[2.0], [1.0]], [[0.5], [0.4]], 5 * MILLI_WH_PER_KWH)
    assert found.price == RETAIL
    assert list(found.milliwh) == [3 * MILLI_WH_PER_KWH, 2 * MILLI_WH_PER_KWH]


def test_a_tight_cap_goes_to_the_highest_bids() -> None:
    """Under a cap of 2 kWh the price rises to the bid of 0.4, which has to wait; all are told."""
    found = allot([[1], [1]], [[2.0], [1.0]], [[0.5], [0.4]], 2 * MILLI_WH_PER_KWH)
    assert found.price == 400_000
    assert list(found.milliwh) == [2 * MILLI_WH_PER_KWH, 0]
    assert found.signal[0] == 400_000


def test_equal_bids_share_a_tight_cap_in_proportion() -> None:
    """Bids of 3 and 1 kWh at one price under a cap of 2: 1.5 and 0.5."""
    found = allot([[1], [1]], [[3.0], [1.0]], [[0.5], [0.5]], 2 * MILLI_WH_PER_KWH)
    assert list(found.milliwh) == [1_500_000, 500_000]


def test_no_energy_is_worth_more_than_what_it_costs_beyond_an_allowance() -> None:
    """Bids of 5 where more energy costs 0.6: the price stops there, and the cap is cut evenly."""
    found = allot([[1], [1]], [[3.0], [1.0]], [[5.0], [5.0]], 2 * MILLI_WH_PER_KWH, ceiling=600_000)
    assert found.price == 600_000
    assert list(found.milliwh) == [1_500_000, 500_000]


def test_who_sells_makes_room_and_gets_none() -> None:
    """A neighbour sends 2 kWh (1.9 arrive) to a buyer of 3, who may draw the cap of 1 as well; a
    seller that does not deliver draws from the grid without an allowance."""
    found = allot([[1], [-1]], [[3.0], [2.0]], [[0.9], [0.1]], MILLI_WH_PER_KWH)
    fills = found.clearing.fills(2)
    assert (fills.bought[0], fills.sold[1]) == (1_900_000, 2_000_000)
    assert list(found.milliwh) == [MILLI_WH_PER_KWH, 0]


def test_bids_below_retail_ask_nothing_of_the_grid() -> None:
    """Who bids less than retail would not draw from the grid: only the equal share is left."""
    found = allot([[1], [1]], [[2.0], [1.0]], [[0.2], [0.1]], MILLI_WH_PER_KWH)
    assert list(found.milliwh) == [MILLI_WH_PER_KWH // 2, MILLI_WH_PER_KWH // 2]


def test_who_is_away_keeps_an_equal_share() -> None:
    """One of three households did not answer: it has a third, however much the others want."""
    found = allot([[1], [1]], [[9.0], [9.0]], [[0.9], [0.8]], 3 * MILLI_WH_PER_KWH, away=1)
    assert list(found.milliwh) == [2 * MILLI_WH_PER_KWH, 0, MILLI_WH_PER_KWH]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@hundreds
@given(
    homes=st.lists(
        st.tuples(st.booleans(), st.floats(0.001, 3), st.floats(0.05, 1.0)),
        max_size=12,
    ),
    cap=st.integers(0, 5 * MILLI_WH_PER_KWH),
    ceiling=st.integers(0, 2_000_000),
    away=st.integers(0, 3),
)
def test_allowances_fit_under_the_cap(
    mechanism: str,
    homes: list[tuple[bool, float, float]],
    cap: int,
    ceiling: int,
    away: int,
) -> None:
    """Whatever the mechanism: no allowance is negative, together they are at most the cap, all of
    it is given out but for a mWh per household, and nobody pays more than the allowance price."""
    side = [[1 if buys else -1] for buys, _, _ in homes]
    kwh, price = [[q] for _, q, _ in homes], [[p] for _, _, p in homes]
    found = allot(side, kwh, price, cap, mechanism=mechanism, ceiling=ceiling, away=away)
    count = len(homes) + away
    assert (found.milliwh >= 0).all()
    assert cap - 3 * count <= found.milliwh.sum() <= cap or count == 0
    assert RETAIL <= found.price <= max(RETAIL, ceiling)
    fills = found.clearing.fills(count)
    assert (fills.paid * MILLI_WH_PER_KWH <= found.price * fills.bought).all()
