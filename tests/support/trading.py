"""Small made-up homes for trader tests: a daily load with noise, PV, a two-level tariff."""

from dataclasses import dataclass, replace

import numpy as np

from common.arrays import Floats, Ints
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue
from common.market_rules import MarketRules
from common.rng import generator
from fl_client.trader import Situation
from fl_client.trader.base import Trader
from fl_client.trader.scene import Scene

DAY = 48


@dataclass(frozen=True)
class Homes:
    """Homes with ``first`` rows of history before the days that are lived; arrays as in ``Scene``,
    but slot, weekday and lag of all rows."""

    load: Floats
    pv: Floats
    retail: Floats
    first: int
    slot: Ints
    weekday: Ints
    lag: Ints

    def situation(self, trader: Trader, t: int, soc: Floats, signals: Floats) -> Situation:
        """What they know when they decide for ``t``."""
        days = slice(self.first, None)
        scene = Scene(
            load=self.load,
            pv=self.pv,
            origin=self.first,
            slot=self.slot[days],
            weekday=self.weekday[days],
            days=np.arange(len(self.slot[days])) // DAY,
            lag=self.lag[days],
            clear_sky=None,
            battery=BatterySpec(),
            connection=ConnectionSpec(),
            rules=MarketRules(),
            ends=True,
        )
        now = self.first + t
        return scene.situation(
            t,
            trader,
            slice(None),
            soc,
            self.retail[now : now + 96],
            0.05,
            signals=signals,
            past_tariff=(self.retail[None, self.first : now], np.full((1, t), 0.05)),
            end=EndValue(6.075, 0.21, 0.047),
        )


def community(homes: int = 4, days: float = 2, seed: int = 1, history_days: int = 20) -> Homes:
    """``homes`` homes of different size; every other one has PV. Half-hourly meters."""
    rng = generator(seed, "", 0, "trader-test-homes")
    rows = round((history_days + days) * DAY)
    hour = np.arange(rows) / 2 % 24
    shape = 0.15 + 0.5 * np.exp(-(((hour - 19) / 3) ** 2)) + 0.2 * np.exp(-(((hour - 8) / 2) ** 2))
    size = rng.uniform(0.6, 1.6, (homes, 1))
    load = shape * size * rng.gamma(4, 0.25, (homes, rows))
    clearness = np.repeat(rng.uniform(0.2, 1.0, (homes, rows // DAY + 1)), DAY, axis=1)[:, :rows]
    sun = np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None)
    pv = sun * clearness * np.where(np.arange(homes) % 2 == 0, 2.0, 0.0)[:, None]
    return Homes(
        load=load,
        pv=pv,
        retail=np.where((hour >= 16) & (hour < 21), 0.5, 0.2),
        first=history_days * DAY,
        slot=np.arange(rows) % DAY,
        weekday=np.arange(rows) // DAY % 7,
        lag=np.zeros(rows, np.int64),
    )


def situation(homes: int = 3, seed: int = 1, **changes: object) -> Situation:
    """A noon with 20 days of history and a market that has been running for two days."""
    c = community(homes, seed=seed)
    now = c.first + 24
    rng = generator(seed, "", 0, "trader-test-market")
    low = rng.uniform(0.06, 0.15, (DAY, 1))
    made = Situation(
        t=24,
        slot=24,
        weekday=2,
        past_load=c.load[:, :now],
        past_pv=c.pv[:, :now],
        retail=c.retail[now:],
        feed_in=0.05,
        soc=rng.uniform(0.1, 0.8, homes),
        battery=BatterySpec(),
        connection=ConnectionSpec(),
        rules=MarketRules(),
        past_local=np.hstack([low, low]),
        remaining=len(c.retail) - now,
        end=EndValue(6.075, 0.21, 0.047),
    )
    return replace(made, **changes)  # type: ignore[arg-type]
