"""The dynamic programme finds what HiGHS finds when everything is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue
from common.rng import generator
from fl_client.trader import programme
from simulations.references import Case, own_optimum

BATTERY = np.array([1.35, 10.8, np.sqrt(0.9), 2.5, 0.0])
LIMITS = np.array([10.0, 4.0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.3), st.sampled_from([0.9, 0.8, 1.0]))
def test_equals_highs_under_foresight(seed: int, feed_in: float, round_trip: float) -> None:
    """One scenario that comes true: the value of the initial store is the optimum's cost with
    opposite sign. The programme's grid can only miss value: with 400 points by less than 0.5 %."""
    rng = generator(seed, "", 0, "programme")
    net = rng.normal(0.2, 1.5, 36)
    retail = np.maximum(rng.choice([0.2, 0.35, 0.5], 36), feed_in + 0.01)
    end = EndValue(6.075, float(retail.min()), feed_in)
    spec = BatterySpec(round_trip_efficiency=round_trip)
    case = Case(
        np.maximum(net, 0)[None], np.maximum(-net, 0)[None], retail, feed_in, spec,
        ConnectionSpec(), end=end,
    )  # fmt: skip
    optimum = own_optimum(case).total
    battery = np.array([1.35, 10.8, np.sqrt(round_trip), 2.5, 0.0])
    grid = np.linspace(1.35, 10.8, 400)
    value = np.empty((37, 400))
    programme.backward(
        net[None], retail[None], np.full((1, 36), feed_in), end.value(grid), battery, LIMITS,
        np.inf, np.ones(36), value,
    )  # fmt: skip
    found = -np.interp(6.075, grid, value[0])
    spent = float(np.abs(retail * net).sum())
    assert -1e-9 * spent <= found - optimum <= 0.005 * spent


def test_recourse_beats_every_fixed_action() -> None:
    """The action in closed form is as good as the best of 2,001 tried one by one."""
    value = -((np.linspace(0, 1, 33) - 1.2) ** 2)
    cell = (10.8 - 1.35) / 32
    eta = np.sqrt(0.9)
    for seed in range(50):
        rng = generator(seed, "", 0, "recourse")
        store, net = rng.uniform(1.35, 10.8), rng.normal(0, 2)
        buy, sell, wear = rng.uniform(0.1, 0.5), rng.uniform(0.0, 0.1), rng.uniform(0, 0.03)
        battery = np.array([1.35, 10.8, eta, 2.5, wear])
        chosen = programme.best_action(value, battery, LIMITS, store, net, buy, sell)
        down, up = min(2.5, (store - 1.35) * eta), min(2.5, (10.8 - store) / eta)
        tried = np.linspace(-down, up, 2001)
        tried = np.append(tried[(net + tried >= -4) & (net + tried <= 10)], chosen)
        after = store + np.where(tried > 0, tried * eta, tried / eta)
        flow = net + tried
        paid = np.where(flow > 0, buy * flow, sell * flow) + wear * np.abs(tried)
        worth = np.array([programme.worth(value, 1.35, cell, s) for s in after]) - paid
        assert worth[-1] >= worth.max() - 1e-9


def test_wear_is_paid_for_throughput() -> None:
    """A price difference of 0.3 is worth a cycle without wear and not at 0.2 per kWh both ways."""
    final = np.zeros(41)
    net = np.array([[0.0, 1.0]])
    buy, sell = np.array([[0.1, 0.4]]), np.zeros((1, 2))
    stores = {}
    for wear in (0.0, 0.2):
        battery = np.array([0.0, 10.0, 1.0, 2.5, wear])
        value = np.empty((3, 41))
        programme.backward(net, buy, sell, final, battery, LIMITS, np.inf, np.ones(2), value)
        stores[wear] = programme.best_action(value[1], battery, LIMITS, 0.0, 0.0, 0.1, 0.0)
    assert stores[0.0] == pytest.approx(1.0)
    assert stores[0.2] == 0.0


def test_value_is_concave_and_rises_with_the_store() -> None:
    """More energy is never worth less, and each kWh less than the one before: curves can be bid."""
    rng = generator(3, "", 0, "concave")
    net = rng.normal(0, 1.5, (14, 48))
    buy = rng.uniform(0.2, 0.5, (14, 48))
    value = np.empty((49, 32))
    final = np.linspace(0, 1.9, 32)
    feed_in = np.full((14, 48), 0.05)
    programme.backward(net, buy, feed_in, final, BATTERY, LIMITS, np.inf, np.ones(48), value)
    rise = np.diff(value, axis=1)
    assert np.all(rise > 0)
    assert np.all(np.diff(rise, axis=1) <= 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_action_at_any_prices(seed: int) -> None:
    """Prices below zero and export above import: no action of 4,001 tried, within the limits, is
    worth more than the one chosen, to what the grid of the value function can tell."""
    rng = np.random.default_rng(seed)
    low, high, eta, power, wear = 1.0, 9.0, 0.9, 2.0, 0.01
    battery = np.array([low, high, eta, power, wear])
    value = np.cumsum(np.sort(rng.normal(0.1, 0.2, 33))[::-1] * (high - low) / 32)
    for _ in range(40):
        buy, sell = rng.normal(0.0, 0.4, 2)
        if programme.plain(buy, sell):
            continue
        store, net = rng.uniform(low, high), rng.normal(0.0, 1.5)
        chosen = programme.best_action(value, battery, LIMITS, store, net, buy, sell)
        down, up = min(power, (store - low) * eta), min(power, (high - store) / eta)
        tried = np.linspace(-down, up, 4001)
        within = (net + tried >= -LIMITS[1]) & (net + tried <= LIMITS[0])
        tried = np.append(tried[within], chosen)
        after = store + np.where(tried > 0, tried * eta, tried / eta)
        flow = net + tried
        gain = np.interp(after, np.linspace(low, high, 33), value) - wear * np.abs(tried)
        gain -= np.where(flow > 0, buy, sell) * flow
        assert -down - 1e-9 <= chosen <= up + 1e-9
        assert gain[-1] >= gain.max() - 1e-6


def test_the_envelope_is_the_least_concave_majorant() -> None:
    """0, 0, 3, 1, 2 on an even grid: the line to 3 lifts the second, the one from it the fourth."""
    row = np.array([0.0, 0.0, 3.0, 1.0, 2.0])
    programme.envelope(row)
    assert row.tolist() == [0.0, 1.5, 3.0, 2.5, 2.0]
