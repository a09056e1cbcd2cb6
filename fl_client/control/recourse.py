"""The plan's recourse for the interval that runs, as the trader dispatches it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from fl_client.control.limits import Limits, Soc
from fl_client.control.steering import Steering
from fl_client.trader import make_trader
from fl_client.trader.base import Actual

_OPEN = ConnectionSpec(1e6, 1e6)
_MUCH_KWH = 1e3


@dataclass(frozen=True)
class Fill:
    """What was announced for the interval: kWh ``bought`` and ``sold``; under a cap the kWh from
    the grid allowed, and what more costs."""

    bought: float = 0.0
    sold: float = 0.0
    allowance: float | None = None
    scarcity: float = 0.0

    @staticmethod
    def of(announced: tuple[int, ...] | None, allowed: tuple[int, ...] | None) -> "Fill":
        """From whole mWh and millionths, as the household keeps them."""
        bought, sold = (0, 0) if announced is None else announced[:2]
        kwh, price = (None, 0) if allowed is None or allowed[0] < 0 else allowed
        return Fill(
            bought / MILLI_WH_PER_KWH,
            sold / MILLI_WH_PER_KWH,
            None if kwh is None else kwh / MILLI_WH_PER_KWH,
            price / MICRO,
        )


class PlannedRecourse:
    """``law.Recourse`` of a plan that was handed over, for a battery that stood at ``soc`` when the
    interval began. Raises ValueError for a plan that this trader cannot have made."""

    def __init__(self, steering: Steering, fill: Fill, soc: Soc, limits: Limits) -> None:
        self._trader = make_trader(steering.trader, steering.options)
        self._plan = np.array([steering.plan])
        if self._plan.shape[1] != self._trader.plan_width:
            raise ValueError(f"a plan of {self._plan.shape[1]} numbers is none of this trader")
        # The plan's grid lies between the bounds it was made for: they stay, and what the last
        # step would cut is cut from the target.
        planned, hours = BatterySpec(**steering.battery), steering.seconds / 3600
        room = max(limits.soc_max - soc.high, 0.0) * limits.capacity_kwh / limits.eta
        held = max(soc.low - limits.soc_min, 0.0) * limits.capacity_kwh * limits.eta
        self._most_in = min(limits.charge_kw * hours, room)
        self._most_out = min(limits.discharge_kw * hours, held)
        self._actual = Actual(
            soc=np.array([(soc.low + soc.high) / 2]),
            net_load=np.zeros(1),
            bought=np.array([fill.bought]),
            sold=np.array([fill.sold]),
            retail=steering.retail,
            feed_in=steering.feed_in,
            shortfall=max(steering.shortfall, steering.retail),
            unused=min(steering.unused, steering.feed_in),
            battery=planned,
            connection=ConnectionSpec(**steering.connection),
            hours=hours,
            allowance=None if fill.allowance is None else np.array([fill.allowance]),
            scarcity_price=fill.scarcity,
        )

    def target(self, net_kwh: float) -> float:
        """See ``law.Recourse``."""
        return self._dispatched(replace(self._actual, net_load=np.array([net_kwh])))

    def bounds(self) -> tuple[float, float]:
        """See ``law.Recourse``."""
        return self._bounds

    @cached_property
    def _bounds(self) -> tuple[float, float]:
        low, high = (
            self._dispatched(
                replace(self._actual, net_load=np.array([net]), connection=_OPEN, allowance=None)
            )
            for net in (_MUCH_KWH, -_MUCH_KWH)
        )
        return low, high

    def _dispatched(self, actual: Actual) -> float:
        kwh = float(self._trader.dispatch(self._plan, actual)[0])
        return min(max(kwh, -self._most_out), self._most_in)
