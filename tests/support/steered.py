"""A battery home that is steered through intervals, by plans that its own trader makes."""

from dataclasses import asdict

import numpy as np

from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.market_rules import MarketRules
from fl_client.control.controller import Controller
from fl_client.control.record import COMMAND, Record
from fl_client.control.recourse import Fill
from fl_client.control.settings import Control, Order
from fl_client.control.steering import Steering
from fl_client.trader import make_trader
from fl_client.trader.base import Situation
from tests.support.battery_home import (
    BEGIN,
    BLOCK_S,
    BatteryHome,
    HomeAdapter,
    HomeSight,
    flows,
    halves,
)

INTERVAL = 1800
BATTERY = {"capacity_kwh": 13.5, "round_trip_efficiency": 0.9, "power_kw": 5.0, "soc_min": 0.1,
           "soc_max": 0.8, "soc_initial": 0.45, "wear_cost_per_kwh": 0.0}  # fmt: skip
CONTROL = Control(mode=COMMAND, adapter="mqtt", watchdog_s=120.0)
FOLLOWED = Control(mode=COMMAND, adapter="mqtt", watchdog_s=120.0, follow=Order("grid"))
PAST_DAYS = 16


def tariff(t):
    """Retail price of half hour ``t`` from midnight: night, day and evening."""
    hour = np.asarray(t) % 48 / 2
    return np.where(hour < 6, 0.15, np.where((hour >= 17) & (hour < 21), 0.45, 0.28))


class Steered:
    """``home``, its controller, and what was to be done in each interval."""

    def __init__(self, folder, seed, days, *, control=CONTROL, sunny=True, spec=None, fills=None,
                 every=10):  # fmt: skip
        load, pv = flows(seed, PAST_DAYS + days, sunny=sunny)
        self._half = [halves(load), halves(pv)]
        past = PAST_DAYS * 86400 // BLOCK_S
        self.home = BatteryHome(load[past:], pv[past:], spec, every)
        self.adapter = HomeAdapter(self.home)
        self.record = Record(folder)
        self.control, self.folder = control, folder
        self.fills = fills or {}
        self.made = {}
        self.trader = make_trader("bid-curve", {"scenarios": "days"})
        self.plan_after_s = 4
        self.begin()

    def begin(self):
        """A new process of the control."""
        self.controller = Controller(
            self.control, self.adapter, HomeSight(self.home), self.record, self.plan
        )

    def plan(self):
        """What the ClientApp has left by now."""
        t = int(self.home.now - self.plan_after_s - BEGIN) // INTERVAL
        if t < 0:
            return None
        if t not in self.made:
            self.made[t] = self._decide(t)
        bought, sold = self.fills.get(t, (0.0, 0.0))
        return self.made[t], Fill(bought, sold)

    def _decide(self, t):
        row = PAST_DAYS * 48 + t
        load, pv = self._half
        retail = tariff(np.arange(t, t + 48))
        situation = Situation(
            t, t % 48, 0, load[None, :row], pv[None, :row], retail, 0.05,
            np.array([round(self.home.soc, 2)]), BatterySpec(**BATTERY), ConnectionSpec(),
            MarketRules(0.05, 0.05, 200), market=False,
        )  # fmt: skip
        decision = self.trader.decide(situation)
        usual = np.mean([load[row - 48 * d] - pv[row - 48 * d] for d in range(1, 8)]) * 2
        return Steering(
            "run", t, float(BEGIN + t * INTERVAL), float(INTERVAL), "bid-curve",
            {"scenarios": "days"}, tuple(decision.plan[0].tolist()), dict(BATTERY),
            asdict(ConnectionSpec()), float(retail[0]), 0.05, 0.5, 0.0, float(usual),
        )  # fmt: skip

    def skip(self, seconds):
        """Let the home be by itself for so long."""
        for _ in range(int(seconds)):
            self.home.tick()

    def live(self, seconds, each=None):
        """Go on; the controller steps a second after every reading."""
        snapshot = None
        for _ in range(int(seconds)):
            self.home.tick()
            if self.home.now % 10 == 1:
                snapshot = self.controller.step(self.home.now)
                if each is not None:
                    each(snapshot)
        return snapshot
