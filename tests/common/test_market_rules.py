"""Order intake: what is refused, why, and that the others do not notice."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.market_rules import MAX_PRICE_MICRO, PPM, REASONS, MarketRules, Orders, admit

RULES = MarketRules(max_steps=3)


def _orders(*rows: tuple[int, int, float, float, int], interval: int = 7) -> Orders:
    """(household, side, kWh, price, number)."""
    household, side, quantity, price, number = (np.array(c) for c in zip(*rows, strict=True))
    return Orders(
        household=household.astype(np.int64),
        side=side.astype(np.int8),
        quantity_kwh=quantity.astype(np.float64),
        price=price.astype(np.float64),
        number=number.astype(np.int64),
        interval=np.full(len(rows), interval),
        feeder=np.zeros(len(rows), np.int64),
        min_kwh=np.zeros(len(rows)),
    )


def _reasons(orders: Orders, **options: object) -> list[str]:
    admitted = admit(orders, RULES, interval=7, households=4, **options)  # type: ignore[arg-type]
    return [REASONS[code] for code in admitted.reason]


GOOD = (0, 1, 1.0, 0.2, 0)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ((-1, 1, 1.0, 0.2, 0), "unknown household"),
        ((4, 1, 1.0, 0.2, 0), "unknown household"),
        ((1, 0, 1.0, 0.2, 0), "side is neither buy nor sell"),
        ((1, 1, np.nan, 0.2, 0), "quantity is not a finite number"),
        ((1, 1, np.inf, 0.2, 0), "quantity is not a finite number"),
        ((1, 1, -0.1, 0.2, 0), "quantity is negative"),
        ((1, 1, 1000.5, 0.2, 0), "quantity is absurdly large"),
        ((1, 1, 1.0, np.nan, 0), "price is not a finite number"),
        ((1, 1, 1.0, -np.inf, 0), "price is not a finite number"),
        ((1, 1, 1.0, -100.5, 0), "price is not within +-100 per kWh"),
        ((1, 1, 1.0, 100.5, 0), "price is not within +-100 per kWh"),
        ((1, -1, 4.1, 0.2, 0), "more than the connection can carry"),
        ((1, 1, 10.1, 0.2, 0), "more than the connection can carry"),
    ],
)
def test_a_bad_order_is_refused_alone(bad: tuple[int, int, float, float, int], reason: str) -> None:
    """The bad order gets its reason; the good one before and after it are taken."""
    rows = (GOOD, bad, (2, -1, 4.0, 0.1, 0))
    reasons = _reasons(_orders(*rows), import_kwh=10.0, export_kwh=4.0)
    assert reasons == ["accepted", reason, "accepted"]


def test_intervals_replays_and_second_answers() -> None:
    """Only orders for the open interval of households that have not answered are taken."""
    assert _reasons(_orders(GOOD, interval=6)) == ["replay of a cleared interval"]
    assert _reasons(_orders(GOOD, interval=8)) == ["wrong interval"]
    answered = np.array([True, False, False, False])
    assert _reasons(_orders(GOOD), answered=answered) == ["household has already answered"]


def test_duplicates() -> None:
    """A repeated order counts once; two orders of one number that differ are both refused."""
    twice = _orders(GOOD, GOOD, (1, 1, 1.0, 0.2, 5), (1, 1, 2.0, 0.2, 5), (1, 1, 2.0, 0.2, 6))
    assert sorted(_reasons(twice)) == ["accepted"] * 2 + ["duplicate of another order"] * 3


def test_more_steps_than_allowed() -> None:
    """Four steps where three are allowed: all of the household's go, no one else's."""
    rows = [(0, 1, 1.0, 0.2, n) for n in range(4)] + [(1, 1, 1.0, 0.2, n) for n in range(3)]
    assert _reasons(_orders(*rows)) == ["too many orders"] * 4 + ["accepted"] * 3


def test_steps_fill_the_connection_in_their_own_order() -> None:
    """2 + 1.5 kWh fit an export limit of 4, the third step of 1 kWh does not."""
    rows = [(0, -1, 2.0, 0.1, 0), (0, -1, 1.5, 0.2, 1), (0, -1, 1.0, 0.3, 2)]
    reasons = _reasons(_orders(*rows), export_kwh=4.0)
    assert reasons == ["accepted", "accepted", "more than the connection can carry"]


def test_a_household_cannot_trade_with_itself() -> None:
    """Bid 0.30, ask 0.20: 0.30 * 0.95 >= 0.20 * 1.05, so the two could trade: both are refused. An
    ask of 0.28 needs a bid of 0.3095: it may stand."""
    crossing = _orders((0, 1, 1.0, 0.30, 0), (0, -1, 1.0, 0.20, 1), (1, -1, 1.0, 0.20, 0))
    own = "household's own buy and sell orders cross"
    assert _reasons(crossing) == [own, own, "accepted"]
    apart = _orders((0, 1, 1.0, 0.30, 0), (0, -1, 1.0, 0.28, 1))
    assert _reasons(apart) == ["accepted", "accepted"]


def test_reasons_reach_their_sender() -> None:
    """Refusals are told per household and order number."""
    orders = _orders(GOOD, (2, 1, -1.0, 0.2, 3), (2, 1, 1.0, np.nan, 4))
    told = admit(orders, RULES, interval=7, households=4).refusals(orders)
    assert told == {2: [(3, "quantity is negative"), (4, "price is not a finite number")]}


def test_rounding_never_worsens_an_order() -> None:
    """0.1234567 kWh is 123,456 mWh; a bid of 0.2000007 becomes 0.200000, an ask 0.200001; 0.29,
    which is 0.28999999999999998 in binary, stays 0.290000."""
    rows = ((0, 1, 0.1234567, 0.2000007, 0), (1, -1, 0.29, 0.2000007, 0), (2, 1, 0.57, 0.29, 0))
    admitted = admit(_orders(*rows), RULES, interval=7, households=4)
    assert admitted.quantity_milliwh.tolist() == [123_456, 290_000, 570_000]
    assert admitted.price_micro.tolist() == [200_000, 200_001, 290_000]


_NUMBER = st.one_of(
    st.floats(0, 5), st.sampled_from([np.nan, np.inf, -1.0, 0.0, 1e9, 0.2, 1.0, 0.3])
)
_ROW = st.tuples(st.integers(-1, 4), st.integers(-1, 2), _NUMBER, _NUMBER, st.integers(0, 3))


@given(rows=st.lists(_ROW, min_size=1, max_size=20), data=st.data())
def test_arrival_order_decides_nothing(
    rows: list[tuple[int, int, float, float, int]], data: st.DataObject
) -> None:
    """Permuting what arrives permutes the reasons; identical copies may swap which one counts."""
    shuffled = data.draw(st.permutations(rows))
    before, after = (
        sorted(zip(map(repr, r), _reasons(_orders(*r), export_kwh=4.0), strict=True))
        for r in (rows, shuffled)
    )
    assert before == after


@given(rows=st.lists(_ROW, min_size=1, max_size=20))
def test_what_passes_is_sound(rows: list[tuple[int, int, float, float, int]]) -> None:
    """Accepted orders are within bounds and keep the wedge inside every household."""
    admitted = admit(_orders(*rows), RULES, interval=7, households=4, export_kwh=4.0)
    assert (admitted.quantity_milliwh >= 0).all()
    assert (np.abs(admitted.price_micro) <= MAX_PRICE_MICRO).all()
    for h in range(4):
        mine = admitted.household == h
        bids = admitted.price_micro[mine & (admitted.side > 0)]
        asks = RULES.grossed_ask(admitted.price_micro[mine & (admitted.side < 0)])
        assert admitted.quantity_milliwh[mine & (admitted.side < 0)].sum() <= 4_000_000
        assert mine.sum() <= RULES.max_steps
        assert not (len(bids) and len(asks)) or bids.max() < asks.min()


def test_minimum_is_between_nothing_and_the_quantity() -> None:
    """A block larger than its order, or of NaN, is refused."""
    orders = replace(_orders(GOOD, GOOD, GOOD), min_kwh=np.array([1.5, np.nan, 0.5]))
    orders = replace(orders, number=np.arange(3))
    bad = "minimum quantity is not between 0 and the quantity"
    assert _reasons(orders) == [bad, bad, "accepted"]


@pytest.mark.parametrize(
    "field", ["loss", "min_margin", "k", "feeder_loss", "feeder_fee", "local_fee"]
)
@pytest.mark.parametrize("value", [-0.1, float("nan"), 1e9])
def test_rules_out_of_range_are_named(field: str, value: float) -> None:
    """The error names the key and the value."""
    with pytest.raises(InputError, match=f"market.{field} = "):
        MarketRules(**{field: value})


_PRICE = st.integers(-MAX_PRICE_MICRO, MAX_PRICE_MICRO)
_RULES = st.builds(
    MarketRules,
    loss=st.floats(0, 0.9),
    min_margin=st.floats(0, 0.99),
    local_fee=st.sampled_from([0.0, 0.000001, 0.08, 3.0]),
)


@given(price=_PRICE, rules=_RULES)
def test_highest_ask_is_the_wedge_backwards(price: int, rules: MarketRules) -> None:
    """The highest ask that may trade at a price does, and one micro more does not."""
    ask = rules.highest_ask(price)
    grossed = rules.grossed_ask(np.array([ask, ask + 1]))
    assert grossed[0] <= price < grossed[1]


@given(bid=_PRICE, asks=st.lists(_PRICE, min_size=2, max_size=5), rules=_RULES)
def test_the_wedge_holds_for_any_sign(bid: int, asks: list[int], rules: MarketRules) -> None:
    """A bid reaches a grossed ask just where (bid - fee) * (1 - loss) >= ask + margin * |ask|, in
    exact integers; and the grossed ask never falls as the ask rises."""
    grossed = rules.grossed_ask(np.array(sorted(asks)))
    for ask, least in zip(sorted(asks), grossed.tolist(), strict=True):
        arrives = (bid - rules.local_fee_micro) * rules.keep_ppm
        assert (bid >= least) == (arrives >= ask * PPM + abs(ask) * rules.margin_ppm)
    assert (np.diff(grossed) >= 0).all()


def test_prices_beyond_the_bounds_of_the_interval_are_refused() -> None:
    """Between -0.05 and 0.3 an order may name any price, both ends included."""
    rows = [(0, 1, 1.0, 0.3, 0), (1, 1, 1.0, 0.300001, 0), (2, -1, 1.0, -0.05, 0)]
    rows.append((3, -1, 1.0, -0.050001, 0))
    beyond = "price is outside the bounds of the interval"
    reasons = _reasons(_orders(*rows), bounds=(-50_000, 300_000))
    assert reasons == ["accepted", beyond, "accepted", beyond]
