"""Compensation: exactly balanced, nobody below what it had, everybody as high as gains allow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.arrays import Ints
from fl_server.market.compensation import compensate, most_carried, told_gains

GAINS = st.lists(st.integers(-(10**12), 10**12) | st.integers(-5, 5), max_size=40).map(
    lambda values: np.array(values, np.int64)
)


@given(GAINS)
def test_transfers_sum_to_zero_and_nobody_falls_below_what_it_had(gains: Ints) -> None:
    """Losers only receive and gainers only give, no more than their gain; who neither gained nor
    lost takes no part; nobody is lifted above 0."""
    moved = compensate(gains)
    after = gains + moved
    assert moved.sum() == 0
    assert (after >= np.minimum(gains, 0)).all()
    assert (after <= np.maximum(gains, 0)).all()
    assert (moved[gains == 0] == 0).all()


@given(GAINS)
def test_everybody_is_lifted_as_far_as_the_gains_reach(gains: Ints) -> None:
    """Either no loser is left, or no gainer."""
    after = gains + compensate(gains)
    assert (after >= 0).all() if gains.sum() >= 0 else (after <= 0).all()


@given(GAINS)
def test_parts_are_in_proportion(gains: Ints) -> None:
    """Each gives, or gets, its share to within a micro."""
    moved = compensate(gains)
    amount = int(np.maximum(moved, 0).sum())
    for side in (1, -1):
        whole = sum(x for x in (side * gains).tolist() if x > 0)
        for gain, transfer in zip(gains.tolist(), moved.tolist(), strict=True):
            if side * gain > 0:
                assert abs(-side * transfer * whole - side * gain * amount) < whole


@given(GAINS, st.randoms(use_true_random=False))
def test_the_order_of_households_decides_micros_only(gains: Ints, random: object) -> None:
    """Any permutation of the households permutes the transfers, up to the micro that ties leave;
    the same gains always give the same transfers."""
    order = np.arange(len(gains))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert np.abs(compensate(gains[order]) - compensate(gains)[order]).max(initial=0) <= 1
    assert (compensate(gains) == compensate(gains.copy())).all()


def test_figures_past_64_bits_in_between() -> None:
    """Products of gains and amounts pass int64: the result is still exact."""
    gains = np.array([3 * 10**18, -(10**18), -(10**18) - 1])
    assert compensate(gains).tolist() == [-2 * 10**18 - 1, 10**18, 10**18 + 1]


def told(alone: float, alone_left: float, left: float) -> dict[str, float]:
    return {"shadow_cost": alone, "shadow_end_value": alone_left, "end_value": left}


def test_a_gain_is_the_bill_alone_less_the_bill_with_stores_at_their_worth() -> None:
    """Alone 10.00 with 0.50 more in store; with the market 9.20 and 0.20 less in store: a gain of
    9.50 - 9.40 = 0.10."""
    gains = told_gains([told(10.0, 0.5, -0.2)], np.array([9_200_000]), 100.0)
    assert gains.tolist() == [100_000]


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"shadow_cost": 1.0},
        told(float("nan"), 0.0, 0.0),
        told(0.0, float("inf"), 0.0),
        told(-1e300, 0.0, 0.0),
        told(0.0, 0.0, 100.5),
    ],
)
def test_who_tells_nothing_that_can_be_takes_no_part(report: dict[str, float]) -> None:
    """Missing, not a number, or more than a connection carries in the run: the other two settle
    between themselves."""
    owed = np.array([5_000_000, 2_000_000, 4_000_000])
    gains = told_gains([report, told(1.0, 0.0, 0.0), told(6.0, 0.0, 0.0)], owed, 100.0)
    assert gains.tolist() == [0, -1_000_000, 2_000_000]
    assert compensate(gains).tolist() == [0, 1_000_000, -1_000_000]


def test_the_limit_is_a_connection_at_full_load() -> None:
    """10 kWh in or 4 out per interval at the dearest of retail, which may be negative, and
    feed-in; an interval without a price is left out."""
    retail = np.array([0.3, -0.5, 0.01, np.nan])
    assert most_carried(retail, 0.05, 10.0, 4.0) == pytest.approx(10 * (0.3 + 0.5 + 0.05))
