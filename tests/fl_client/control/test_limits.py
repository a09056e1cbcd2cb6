"""The last step: no wish gets past it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_client.control.limits import SOC_STEP, Limits, Soc, SocWatch, confined

LIMITS = Limits(4.0, 5.0, 0.1, 0.8, 13.5, 0.9**0.5, 20.0, 8.0)
anything = st.floats(-1e6, 1e6)


@given(wish=anything, soc=st.floats(0, 1), doubt=st.floats(0, 0.02), net=st.floats(-30, 30),
       hold=st.floats(1, 600))  # fmt: skip
def test_power_and_store_hold_whatever_is_wished(wish, soc, doubt, net, hold):
    """Within the powers; and held for the whole of its time the command carries no store that is
    possible past a bound."""
    kw = confined(wish, LIMITS, Soc(soc - doubt, soc + doubt), net, hold)
    assert -5.0 <= kw <= 4.0
    after = kw * hold / 3600
    stored = after * LIMITS.eta if after > 0 else after / LIMITS.eta
    for true in (soc - doubt, soc + doubt):
        reached = true + stored / 13.5
        assert reached <= max(0.8, true) + 1e-12
        assert reached >= min(0.1, true) - 1e-12


@given(wish=anything, net=st.floats(-30, 30))
def test_the_connection_holds_where_the_battery_can_help(wish, net):
    """The flow stays within what the connection carries, or the battery does all it can for it."""
    kw = confined(wish, LIMITS, Soc(0.45, 0.45), net, 10.0)
    assert -8.0 - 1e-9 <= net + kw <= 20.0 + 1e-9 or kw in (4.0, -5.0)


@given(wish=st.floats(-4, 4), net=st.floats(-3, 10))
def test_what_is_permitted_is_left_as_it_is(wish, net):
    """Far from every bound nothing is changed."""
    assert confined(wish, LIMITS, Soc(0.45, 0.46), net, 60.0) == wish


@given(
    start=st.floats(0.2, 0.6),
    powers=st.lists(st.floats(-5, 5), min_size=1, max_size=300),
    wrong=st.floats(-0.01, 0.01),
)  # fmt: skip
def test_the_true_store_is_always_within_what_is_known(start, powers, wrong):
    """Told in whole per cent every ten seconds, counted with an error of up to one per cent; the
    longer it is watched the better it is known."""
    watch, true, eta = SocWatch(13.5, 0.9**0.5), start, 0.9**0.5
    watch.hear(round(true, 2), 0.0)
    for kw in powers:
        kwh = kw / 360
        true += (kwh * eta if kwh > 0 else kwh / eta) / 13.5
        watch.hear(round(true, 2), kwh * (1 + wrong))
        low, high = watch.now
        assert low - 1e-9 <= true <= high + 1e-9
        assert high - low <= 1.1 * SOC_STEP
        assert not watch.stuck


@pytest.mark.parametrize("kw", [-3.0, 2.0])
def test_a_value_that_stands_still_is_noticed_and_not_believed(kw):
    """After three per cent of the capacity; until then, and after, what was counted holds."""
    watch, true, eta = SocWatch(13.5, 0.9**0.5), 0.5, 0.9**0.5
    watch.hear(0.5, 0.0)
    while not watch.stuck:
        kwh = kw / 360
        true += (kwh * eta if kwh > 0 else kwh / eta) / 13.5
        watch.hear(0.5, kwh)
        low, high = watch.now
        assert low - 1e-9 <= true <= high + 1e-9
    assert abs(true - 0.5) == pytest.approx(0.03, abs=0.001)
    watch.hear(round(true, 2), 0.0)
    assert not watch.stuck
