"""What a steered battery earns, beside one that is computed: the same trader, house and prices."""

import os

import numpy as np
import pytest

from common.energy.battery import BatterySpec, step
from common.energy.connection import ConnectionSpec
from fl_client.trader.base import Actual
from tests.support.steered import BATTERY, CONTROL, FOLLOWED, INTERVAL, Steered, tariff

FEED_IN, LOWEST = 0.05, 0.15
HOMES = int(os.environ.get("FEDWATT_STEERED_HOMES", "8"))
DAYS = 2


def _bill(imported, exported, t):
    return imported * float(tariff(t)) - exported * FEED_IN


def _left(soc):
    """What the store is short of its beginning costs, or what is left over earns."""
    kwh = (soc - 0.45) * 13.5
    return -kwh * LOWEST / 0.9**0.5 if kwh < 0 else -kwh * FEED_IN * 0.9**0.5


def _steered(folder, seed, control):
    """(Net loads [kWh], costs without battery, steered, steered with registers that count both
    ways)."""
    home = Steered(folder, seed, DAYS, control=control)
    nets, costs = [], np.zeros(3)
    for t in range(48 * DAYS - 1):
        begin, both = home.home.now, np.zeros(2)
        for _ in range(INTERVAL):
            home.live(1)
            both += max(home.home.grid_kw, 0.0) / 3600, max(-home.home.grid_kw, 0.0) / 3600
        net, done = home.home.between(begin, begin + INTERVAL)
        nets.append(net)
        for place, flow in enumerate((net, net + done)):
            costs[place] += _bill(max(flow, 0.0), max(-flow, 0.0), t)
        costs[2] += _bill(*both, t)
    costs[1:] += _left(home.home.soc)
    return nets, costs


def _computed(folder, seed, nets):
    """Cost with a battery that does the recourse of each half hour exactly."""
    home, soc, cost = Steered(folder, seed, DAYS), 0.45, 0.0
    for t, net in enumerate(nets):
        home.home.soc = soc
        plan = home._decide(t)
        actual = Actual(
            np.array([soc]), np.array([net]), np.zeros(1), np.zeros(1), plan.retail, FEED_IN,
            BatterySpec(**BATTERY), ConnectionSpec(), shortfall=plan.shortfall, unused=0.0,
        )  # fmt: skip
        wanted = home.trader.dispatch(np.array([plan.plan]), actual)
        moved = step(actual.battery, actual.soc, wanted)
        soc = float(moved.soc[0])
        flow = net + float(moved.charge_kwh[0] - moved.discharge_kwh[0])
        cost += _bill(max(flow, 0.0), max(-flow, 0.0), t)
    return cost + _left(soc)


@pytest.mark.nightly
@pytest.mark.parametrize("control", [CONTROL, FOLLOWED], ids=["setpoints", "followed"])
def test_it_earns_what_a_computed_one_does(tmp_path, control):
    """Of what a battery saves that follows the recourse exactly, within two points; how much less
    where the meter's registers count both directions within a half hour is printed; below five
    points it is where the inverter holds a power at the grid by itself. The figures of
    docs/control.md."""
    total = np.zeros(4)
    for seed in range(10, 10 + HOMES):
        for part in ("steered", "computed"):
            (tmp_path / f"{part}{seed}").mkdir()
        nets, costs = _steered(tmp_path / f"steered{seed}", seed, control)
        total += [*costs, _computed(tmp_path / f"computed{seed}", seed, nets)]
    alone, steered, both_ways, computed = total
    share = (alone - steered) / (alone - computed)
    gross = (alone - both_ways) / (alone - computed)
    print(f"{HOMES} homes: {share:.4f} of what a computed battery saves; with registers that count "
          f"both ways {gross:.4f}")  # fmt: skip
    assert share >= 0.98
    assert gross >= 0.95 or control is CONTROL
