"""The steps of a plan are the interval that is traded and then the half hours of the clock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cadence import MINUTES
from fl_client.trader import programme
from fl_client.trader.steps import steps_of

BATTERY = np.array([[1.35, 10.8, np.sqrt(0.9), 2.5, 0.01]])
LIMITS = np.array([[10.0, 4.0]])


@given(minutes=st.sampled_from(MINUTES), slot=st.integers(0, 1439), intervals=st.integers(1, 400))
def test_steps_cover_every_interval_once(minutes: int, slot: int, intervals: int) -> None:
    """At any interval and place in the hour: no step passes a half hour of the clock, the first is
    the interval itself, lengths are those of what they hold, and no energy is lost or made."""
    steps = steps_of(slot, intervals, minutes / 60)
    ends = np.append(steps.begin[1:], intervals)
    assert steps.begin[0] == 0
    assert (ends > steps.begin).all()
    assert steps.length * steps.hours == pytest.approx((ends - steps.begin) * minutes / 60)
    if minutes < 30:
        assert ends[0] == 1
        half_hour = (slot + steps.begin) * minutes // 30
        assert ((slot + ends - 1) * minutes // 30 == half_hour).all()
        assert (np.diff(half_hour)[1:] == 1).all()
    energy = np.arange(2 * intervals, dtype=np.float64).reshape(2, intervals)
    assert steps.total(energy).sum(axis=1) == pytest.approx(energy.sum(axis=1))
    assert steps.mean(np.ones((2, intervals))) == pytest.approx(1.0)


def test_a_long_step_is_a_short_one_with_larger_limits() -> None:
    """Planning hours as steps of twice the length gives the bits of planning them as such."""
    rng = np.random.default_rng(2)
    net, buy = rng.normal(0, 2, (1, 5, 24)), rng.uniform(-0.1, 0.5, (1, 5, 24))
    final, soft = np.linspace(0, 2, 20)[None], np.array([3.0])
    rows = BATTERY * [1, 1, 1, 2, 1]
    twice = programme.plan(
        net, buy, np.minimum(buy, 0.05), final, BATTERY, LIMITS, soft, np.full(24, 2.0)
    )
    whole = programme.plan(
        net, buy, np.minimum(buy, 0.05), final, rows, 2 * LIMITS, 2 * soft, np.ones(24)
    )
    assert np.array_equal(twice, whole)
