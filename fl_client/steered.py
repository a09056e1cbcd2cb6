"""Batteries of real homes that the plan drives, or would: as measured, and what they are told.

In a group of homes whose batteries are computed there is none.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.config import Home
from common.energy.battery import BatterySpec, BatteryStep
from fl_client.control.steering import Steering
from fl_client.prices import PublicPrices
from fl_client.readings import Member, RunReadings
from fl_client.trader.base import HOLD_REASONS, Decision, Situation, Trader
from fl_client.window import Window

_USUAL_DAYS = 7


class SteeredBatteries:
    """Those of ``members`` that are ``steered``. ``index``: the run's rows, ``origin`` that of
    interval 0."""

    def __init__(
        self,
        members: Sequence[Member],
        homes: Sequence[Home],
        readings: RunReadings,
        prices: PublicPrices,
        window: Window,
        index: pd.DatetimeIndex,
        origin: int,
    ) -> None:
        self._members, self._homes, self._readings = members, homes, readings
        self._prices, self._window, self._index, self._origin = prices, window, index, origin
        self._steered = {
            h: member.steered for h, member in enumerate(members) if member.steered is not None
        }
        # A real household's process steps it alone.
        assert not self._steered or len(members) == 1
        self._commanded = [h for h, one in self._steered.items() if one.commanded]
        self._waiting: dict[int, Steering] = {}

    def told(self, soc: Floats) -> Floats:
        """(H,) state of charge: of commanded batteries as they tell it now."""
        if not self._commanded:
            return soc
        soc = soc.copy()
        for h in self._commanded:
            said = self._readings.told_soc(h)
            soc[h] = said if np.isfinite(said) else soc[h]
        return soc

    def measured(self, t: int, moved: BatteryStep) -> BatteryStep:
        """What the batteries did in ``t``: of commanded ones as their meters counted it."""
        if not self._commanded:
            return moved
        done = BatteryStep(*(np.array(part) for part in moved))
        for h in self._commanded:
            charge, discharge, soc = self._readings.battery(h, t)
            done.charge_kwh[h], done.discharge_kwh[h], done.clipped_kwh[h] = charge, discharge, 0.0
            done.soc[h] = soc if np.isfinite(soc) else moved.soc[h]
        return done

    def hand_over(
        self, t: int, which: Ints, situation: Situation, decision: Decision, trader: Trader
    ) -> None:
        """Note what the control of each battery needs of the decision of ``t``; ``write`` it."""
        for h, one in self._steered.items():
            plan, reason = decision.plan[0], int(decision.reason[0])
            if not one.commanded:
                # It trades with its net load as it is; the plan is for the house without it.
                taken = self._readings.by_itself(h)
                newest = self._origin + t - situation.lag
                taken = taken[None, newest - situation.past_load.shape[1] : newest]
                situation = replace(
                    situation,
                    past_load=situation.past_load + taken,
                    battery=one.battery,
                    soc=np.array([self._readings.told_soc(h)]),
                    net=None,
                    remaining=None,
                    end=None,
                )
                would = trader.decide(situation)
                plan, reason = would.plan[0], int(would.reason[0])
            self._waiting[h] = self._steering(t, h, one.battery, situation, plan, reason)

    def write(self) -> None:
        """Hand over what was noted, once the decision itself is kept."""
        for h, steering in self._waiting.items():
            steering.write(self._members[h].directory)
        self._waiting = {}

    def _steering(
        self, t: int, h: int, battery: BatterySpec, own: Situation, plan: Floats, reason: int
    ) -> Steering:
        trader, connection = self._homes[h].trader, self._homes[h].connection_spec
        retail, feed_in = self._prices.retail[h, t], self._prices.feed_in[h, t]
        terms = self._prices.terms
        return Steering(
            run=self._window.join.run,
            t=self._window.base + t,
            start=self._index[self._origin + t].timestamp(),
            seconds=own.hours * 3600,
            trader=trader.kind,
            options=dict(trader.options),
            plan=tuple(plan.tolist()),
            battery={name: float(value) for name, value in asdict(battery).items()},
            connection={name: float(value) for name, value in asdict(connection).items()},
            retail=float(retail),
            feed_in=float(feed_in),
            shortfall=float(retail if terms is None else terms.shortfall),
            unused=float(feed_in if terms is None else terms.unused),
            usual_kw=_usual_kw(own),
            reason=HOLD_REASONS[reason],
        )


def _usual_kw(own: Situation) -> float:
    """Mean load less PV of this interval of the day, over the last days."""
    day, known = own.steps_per_day, own.past_load.shape[1]
    columns = [known + own.lag - day * back for back in range(1, _USUAL_DAYS + 1)]
    rows = [column for column in columns if 0 <= column < known]
    net = [own.past_load[0, row] - own.past_pv[0, row] for row in rows]
    net = [value for value in net if np.isfinite(value)]
    return float(np.mean(net)) / own.hours if net else 0.0
