"""The control law, without a house: what it wishes, and what it must never wish."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.control.law import MEMORY_S, Course, expected_kw, wish
from tests.support.planned import Planned, kw, kwh, plans


@given(now=kw, usual=kw, left=st.floats(0, 7200))
def test_the_rest_lies_between_now_and_the_usual(now, usual, left):
    """It is a weighted mean; what is about to happen weighs as now, what is far off as usual."""
    mean = expected_kw(now, usual, left)
    assert min(now, usual) - 1e-9 <= mean <= max(now, usual) + 1e-9
    assert expected_kw(now, usual, 0.0) == now
    assert expected_kw(now, usual, 1e-3) == pytest.approx(now, abs=1e-4)
    far = expected_kw(now, usual, 1000 * MEMORY_S)
    assert abs(far - usual) <= abs(now - usual) / 999 + 1e-12


@given(plan=plans, net=kwh, net_kw=kw, done=kwh, left=st.floats(20, 1800))
def test_a_steady_house_is_met_exactly(plan, net, net_kw, done, left):
    """Where the house goes on as expected, the power wished brings the battery to the recourse of
    the interval's whole net load, whatever it has done before."""
    found = wish(Course(net, done, net_kw, net_kw, left), plan, 10.0)
    whole = net + net_kw * left / 3600
    assert found.target_kwh == pytest.approx(plan.target(whole))
    assert done + found.kw * left / 3600 == pytest.approx(plan.target(whole), abs=1e-9)


@given(plan=plans, steps=st.lists(kw, min_size=20, max_size=180), usual=kw)
def test_the_interval_ends_at_the_recourse_of_what_was_used(plan, steps, usual):
    """Powers that change every ten seconds, known only when they come: with a battery strong enough
    the interval ends within what the last ten seconds brought."""
    net = done = 0.0
    for place, now in enumerate(steps):
        left = 10.0 * (len(steps) - place)
        found = wish(Course(net, done, now, usual, left), plan, 10.0)
        net, done = net + now / 360, done + found.kw / 360
    assert abs(done - plan.target(net)) <= 1e-3


@given(net=st.floats(0.01, 3), kws=st.lists(st.floats(0.05, 5), min_size=5, max_size=60))
def test_serving_the_house_keeps_the_meter_still(net, kws):
    """A plan that absorbs everything follows the house: nothing flows either way meanwhile."""
    plan = Planned(-50, 50)
    done = -net
    for place, now in enumerate(kws):
        left = 10.0 * (len(kws) - place)
        found = wish(Course(net, done, now, 1.0, left), plan, 10.0)
        assert found.kw == pytest.approx(-now)
        net, done = net + now / 360, done + found.kw / 360


@given(course=st.builds(Course, kwh, st.just(0.0), kw, kw, st.floats(10, 1800)))
def test_a_battery_that_should_rest_rests(course):
    """Between the prices nothing is worth a cycle, whatever the house does."""
    assert wish(course, Planned(0.0, 0.0), 10.0).kw == 0.0


@given(
    course=st.builds(Course, kwh, kwh, kw, kw, st.floats(10, 1800)), low=st.floats(0.1, 3),
    more=st.floats(0, 2),
)  # fmt: skip
def test_a_battery_that_only_charges_discharges_for_a_correction_alone(course, low, more):
    """Not below what evens out an overshoot, and not below 0 without one."""
    plan = Planned(low, low + more)
    found = wish(course, plan, 10.0)
    over = found.target_kwh - course.battery_kwh
    assert found.kw >= min(0.0, over * 3600 / max(course.left_s, 10.0)) - 1e-9
