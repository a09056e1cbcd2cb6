"""The references agree with hand-made answers, with each other, and with independent figures."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue
from simulations.references import (
    Case,
    NoOptimumError,
    community_optimum,
    greedy_battery,
    no_battery_no_trade,
    own_optimum,
)

LOSSLESS = BatterySpec(
    capacity_kwh=2.0, round_trip_efficiency=1.0, power_kw=4.0, soc_min=0.0, soc_max=1.0,
    soc_initial=0.0,
)  # fmt: skip


def two_homes() -> Case:
    """Home 0 makes 3 kWh in the first interval, home 1 needs 2 in each; retail 0.2 then 0.5."""
    return Case(
        load=np.array([[0.0, 0.0], [2.0, 2.0]]),
        pv=np.array([[3.0, 0.0], [0.0, 0.0]]),
        retail=np.array([0.2, 0.5]),
        feed_in=0.05,
        battery=LOSSLESS,
        connection=ConnectionSpec(),
        loss=0.0,
    )


def test_hand_made_case() -> None:
    """Power 4 kW = 2 kWh per interval, store 2 kWh, no losses.

    Nothing: home 0 earns 3 x 0.05 = 0.15, home 1 pays 2 x 0.2 + 2 x 0.5 = 1.4.
    Greedy: home 0 stores 2 and exports 1 (0.05); the stored 2 kWh are worth feed-in 0.1; home 1
    has nothing to store: 1.4.
    Own optimum: home 0 earns 0.15 either way; home 1 buys 4 at 0.2: 0.8.
    Community: demand 4, own supply 3, one more kWh bought at 0.2 in the first interval: 0.2.
    """
    case = two_homes()
    assert no_battery_no_trade(case).cost == pytest.approx([-0.15, 1.4])
    assert greedy_battery(case).cost == pytest.approx([-0.15, 1.4])
    assert own_optimum(case).cost == pytest.approx([-0.15, 0.8])
    assert community_optimum(case).total == pytest.approx(0.2)


def test_the_optimum_says_when_it_trades() -> None:
    """Without batteries home 1 can use home 0's sun only while it shines: 2 of the 3 kWh, 1 kWh for
    each it needs and what is lost on the way; houses alone trade nothing."""
    case = replace(two_homes(), battery=replace(LOSSLESS, capacity_kwh=0.0), loss=0.05)
    best = community_optimum(case)
    assert best.delivered == pytest.approx([2.0, 0.0])
    assert best.total == pytest.approx(2 * 0.5 - 0.05 * (3 - 2 / 0.95))
    assert own_optimum(case).delivered is None


def test_a_cap_costs_and_holds() -> None:
    """Home 1 alone needs 4 kWh; with at most 1 kWh of import per interval and 3 kWh from home 0 the
    community still pays 0.2; with at most 0.6 it must import 0.6 early and 0.4 late: 0.32. A cap of
    0.4 kWh leaves load without supply: no optimum."""
    case = two_homes()
    assert community_optimum(case, import_cap_kw=2.0).total == pytest.approx(0.2)
    capped = community_optimum(case, import_cap_kw=1.2)
    assert capped.total == pytest.approx(0.32)
    assert capped.peak_kw() <= 1.2 + 1e-9
    with pytest.raises(ValueError, match="no optimum"):
        community_optimum(case, import_cap_kw=0.8)


def test_each_reference_does_at_least_as_well_as_the_one_before() -> None:
    """More freedom never costs more: greedy <= nothing here, own <= greedy, community <= own; and
    every battery stays within its bounds."""
    rng = np.random.default_rng(5)
    hours = np.arange(96) / 2 % 24
    sun = np.clip(np.sin((hours - 6) / 12 * np.pi), 0, None)
    case = Case(
        load=rng.gamma(2, 0.2, (3, 96)),
        pv=sun * np.array([[0.0], [2.0], [5.0]]),
        retail=np.where((hours >= 16) & (hours < 21), 0.5, 0.2),
        feed_in=0.05,
        battery=BatterySpec(),
        connection=ConnectionSpec(),
    )
    greedy, own, community = greedy_battery(case), own_optimum(case), community_optimum(case)
    assert np.all(own.cost <= greedy.cost + 1e-9)
    assert community.total <= own.total + 1e-9
    for outcome in (greedy, own, community):
        assert outcome.soc.min() >= 0.1 - 1e-9
        assert outcome.soc.max() <= 0.8 + 1e-9
        assert outcome.grid_export.max() <= 4 + 1e-9
    assert greedy.total < no_battery_no_trade(case).total


def test_load_beyond_the_connection_has_an_optimum_too() -> None:
    """A load no connection can carry is unserved in every reference, never infeasible."""
    case = Case(
        load=np.array([[12.0, 0.0]]), pv=np.zeros((1, 2)), retail=np.array([0.2, 0.2]),
        feed_in=0.05, battery=BatterySpec(capacity_kwh=0.0), connection=ConnectionSpec(),
    )  # fmt: skip
    assert no_battery_no_trade(case).total == pytest.approx(2.0)
    assert own_optimum(case).total == pytest.approx(2.0)


def shared_data() -> Path:
    """Folder of the laboratory's data: FEDWATT_SHARED_DATA, or beside the checkout."""
    default = Path(__file__).parents[3] / "shared" / "data"
    return Path(os.environ.get("FEDWATT_SHARED_DATA", default)) / "citylearn2022_17"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2016-10-01", (1129.17, 504.42, 436.72)),
        ("2017-02-01", (1511.22, 919.16, 871.23)),
        ("2017-05-01", (857.68, 257.56, 151.35)),
        ("2017-06-26", (1726.43, 966.16, 807.28)),
    ],
)
def test_independent_figures_of_real_homes(start: str, expected: tuple[float, ...]) -> None:
    """Ten CityLearn homes, 30 days: within 0.1 % of figures computed by other code."""
    folder = shared_data()
    if not folder.is_dir():
        pytest.skip(f"no laboratory data at {folder}")
    long = pd.read_parquet(folder / "load_pv.parquet")
    homes = sorted(set(long["house"]) - {"B12", "B15"})[:10]
    first = pd.Timestamp(start)
    hours = pd.date_range(first, periods=720, freq="h")

    def halves(column: str) -> np.ndarray:
        table = long.pivot(index="timestamp_local", columns="house", values=column)
        return np.repeat(table.loc[hours, homes].to_numpy().T, 2, axis=1) / 2

    context = pd.read_csv(folder / "context.csv", parse_dates=["timestamp_local"])
    price = context.set_index("timestamp_local")["price_usd_per_kwh"].loc[hours].to_numpy()
    case = Case(
        halves("load_kwh"), halves("pv_kwh"), np.repeat(price, 2), 0.05, BatterySpec(),
        ConnectionSpec(),
    )  # fmt: skip
    found = (no_battery_no_trade(case), own_optimum(case), community_optimum(case))
    assert [outcome.total for outcome in found] == pytest.approx(expected, rel=1e-3)


def _one_home(retail: list[float], feed_in: list[float], load: float, pv: float) -> Case:
    count = len(retail)
    return Case(
        load=np.full((1, count), load),
        pv=np.full((1, count), pv),
        retail=np.array(retail),
        feed_in=np.array(feed_in),
        battery=BatterySpec(
            capacity_kwh=2.0, round_trip_efficiency=0.81, power_kw=2.0, soc_min=0.0, soc_max=1.0,
            soc_initial=0.5,
        ),
        connection=ConnectionSpec(3.0, 3.0),
        end=EndValue(1.0, 0.0, 0.0),
    )  # fmt: skip


def _enumerated(case: Case) -> float:
    """The best cost of one home over all ways of using the battery in steps of 0.1 kWh stored.

    PV may be curtailed; one direction at the meter, one way of the battery, per interval.
    """
    eta, grid = 0.9, np.round(np.arange(0, 2.01, 0.1), 10)
    value = np.zeros(len(grid))
    for t in reversed(range(case.load.shape[1])):
        buy, sell = float(np.ravel(case.retail)[t]), float(np.ravel(case.feed_in)[t])
        net, pv = float(case.load[0, t] - case.pv[0, t]), float(case.pv[0, t])
        after = np.empty(len(grid))
        for i, s in enumerate(grid):
            rise = grid - s
            action = np.where(rise > 0, rise / eta, rise * eta)
            flow = net + action
            # Curtailing raises the flow; it pays where export costs.
            raised = np.minimum(np.maximum(flow, 0.0) if sell < 0 else flow, flow + pv)
            flow = np.where(buy < 0, np.minimum(flow + pv, 3.0), raised)
            cost = np.where(flow > 0, buy * flow, sell * flow)
            fits = (np.abs(action) <= 1.0 + 1e-9) & (flow <= 3.0) & (flow >= -3.0)
            after[i] = np.min(np.where(fits, cost + value, np.inf))
        value = after
    return float(value[np.flatnonzero(np.isclose(grid, 1.0))[0]])


@pytest.mark.parametrize(
    ("retail", "feed_in"),
    [
        ([0.3, 0.1, 0.3, 0.4], [0.05] * 4),
        ([0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.1, 0.1]),
        ([-0.2, -0.1, 0.3, 0.2], [-0.3, -0.2, 0.1, 0.1]),
        ([0.2, -0.5, 0.2, -0.5], [0.1, -0.6, 0.1, -0.6]),
    ],
)
@pytest.mark.parametrize(("load", "pv"), [(0.4, 0.0), (0.2, 0.9)])
def test_no_optimum_turns_energy_in_a_circle(
    retail: list[float], feed_in: list[float], load: float, pv: float
) -> None:
    """Export above import, and prices below zero: the optimum is what trying all ways of using the
    battery finds, to the width of its grid, and it draws or feeds, not both."""
    case = _one_home(retail, feed_in, load, pv)
    best = own_optimum(case)
    assert not best.bound
    assert best.gap <= 1e-3
    assert best.total <= _enumerated(case) + 1e-6
    assert best.total == pytest.approx(_enumerated(case), abs=0.03)
    assert (np.minimum(best.grid_import, best.grid_export) < 1e-6).all()


def test_a_cap_that_cannot_be_held_is_said_and_not_raised_as_something_else() -> None:
    """NoOptimumError, which whoever writes a summary catches."""
    with pytest.raises(NoOptimumError, match="no optimum"):
        community_optimum(two_homes(), import_cap_kw=0.8)
