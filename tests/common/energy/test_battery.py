"""The battery conserves energy, keeps its bounds, and does not depend on the step length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.energy.battery import BatterySpec, ac_limits, step
from common.errors import InputError

SPECS = st.builds(
    lambda capacity, efficiency, power, low, window, start: BatterySpec(
        capacity_kwh=capacity,
        round_trip_efficiency=efficiency,
        power_kw=power,
        soc_min=low,
        soc_max=low + window * (1 - low),
        soc_initial=low + start * window * (1 - low),
    ),
    st.floats(0, 100),
    st.floats(0.5, 1),
    st.floats(0, 20),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.floats(0, 1),
)
REQUESTS = st.lists(st.floats(-30, 30), min_size=1, max_size=20)


@given(SPECS, REQUESTS)
def test_energy_is_conserved_and_bounds_hold(spec: BatterySpec, requests: list[float]) -> None:
    """Whatever is asked: request = charge - discharge + clipped, the store changes by what went
    through less the losses, power and state of charge stay within bounds."""
    soc = np.array([float(spec.soc_initial)])
    for request in requests:
        moved = step(spec, soc, np.array([request]))
        assert moved.charge_kwh * moved.discharge_kwh == 0
        assert moved.charge_kwh - moved.discharge_kwh + moved.clipped_kwh == pytest.approx(request)
        stored = moved.charge_kwh * spec.eta - moved.discharge_kwh / spec.eta
        assert (moved.soc - soc) * spec.capacity_kwh == pytest.approx(stored, abs=1e-9)
        assert spec.soc_min <= moved.soc <= spec.soc_max
        assert max(moved.charge_kwh, moved.discharge_kwh) <= float(spec.power_kw) * 0.5 + 1e-12
        soc = moved.soc


@given(SPECS, st.floats(-10, 10))
def test_two_half_steps_are_one_whole_step(spec: BatterySpec, request: float) -> None:
    """Half the energy in half the time, twice, ends where one step does."""
    start = np.array([float(spec.soc_initial)])
    whole = step(spec, start, np.array([request]), 0.5)
    first = step(spec, start, np.array([request / 2]), 0.25)
    second = step(spec, first.soc, np.array([request / 2]), 0.25)
    assert second.soc == pytest.approx(whole.soc, abs=1e-12)
    assert first.charge_kwh + second.charge_kwh == pytest.approx(whole.charge_kwh, abs=1e-9)
    assert first.clipped_kwh + second.clipped_kwh == pytest.approx(whole.clipped_kwh, abs=1e-9)


def test_round_trip_costs_what_the_efficiency_says() -> None:
    """1 kWh in at 90 % round trip gives 0.9 kWh back: the loss is applied once, not twice."""
    spec = BatterySpec()
    start = np.array([0.45])
    charged = step(spec, start, np.array([1.0]))
    drained = step(spec, charged.soc, np.array([-0.9]))
    assert drained.discharge_kwh == pytest.approx(0.9)
    assert drained.soc == pytest.approx(start)


def test_a_battery_outside_its_bounds_may_only_come_back() -> None:
    """Above soc_max nothing more goes in, but what is there can still be used."""
    spec = BatterySpec()
    high = np.array([0.9])
    down, up = ac_limits(spec, high)
    assert up == 0
    assert down == pytest.approx(2.5)
    assert step(spec, high, np.array([1.0])).soc == high
    assert step(spec, high, np.array([-1.0])).soc < high


def test_households_differ() -> None:
    """(H,) specs: each household gets what it would get alone, to the bit."""
    spec = BatterySpec(capacity_kwh=np.array([13.5, 0.0, 6.4]), power_kw=np.array([5.0, 5.0, 1.0]))
    request, soc = np.array([2.0, 2.0, -2.0]), np.array([0.45, 0.45, 0.45])
    together = step(spec, soc, request)
    for h in range(3):
        alone = step(
            BatterySpec(capacity_kwh=spec.capacity_kwh[h], power_kw=spec.power_kw[h]),
            soc[h : h + 1],
            request[h : h + 1],
        )
        for name in together._fields:
            assert getattr(alone, name) == getattr(together, name)[h]
    assert together.charge_kwh[1] == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("capacity_kwh", -1.0), ("power_kw", -0.1), ("round_trip_efficiency", 0.0), ("soc_max", 0.2)],
)
def test_impossible_batteries_are_refused(field: str, value: float) -> None:
    """The mistake is named at construction."""
    with pytest.raises(InputError, match=field):
        BatterySpec(**{field: value})
