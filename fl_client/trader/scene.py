"""What a trader may see of a home when it decides: cut here, and nowhere else.

Whoever runs homes, a run or a benchmark, builds its situations with this, so that no trader ever
sees a reading that is not known yet, and all of them see the same otherwise.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Floats, Ints
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.tariff import EndValue
from common.market_rules import MarketRules
from fl_client.trader.base import Situation, Trader, TraderForecast


@dataclass(frozen=True)
class Scene:
    """H homes whose clocks and meters tick alike, and what stays the same all through a run.

    load, pv (H, R) [kWh per interval], ``origin`` being the row of interval 0. slot, weekday, lag
    (T,): of interval t, see ``Situation``. clear_sky (R,): irradiance, None where unknown.
    feed_in: per kWh. end: value of what is stored after interval T, None while no end is in sight.
    """

    load: Floats
    pv: Floats
    origin: int
    slot: Ints
    weekday: Ints
    lag: Ints
    clear_sky: Floats | None
    feed_in: float
    battery: BatterySpec
    connection: ConnectionSpec
    rules: MarketRules
    end: EndValue | None = None
    hours: float = 0.5

    def situation(
        self,
        t: int,
        trader: Trader,
        which: Ints | slice,
        soc: Floats,
        retail: Floats,
        *,
        market: bool = True,
        signals: Floats | None = None,
        forecast: TraderForecast | None = None,
        share_kwh: float | None = None,
        scarcity_price: float = 0.0,
    ) -> Situation:
        """What the homes ``which`` know when they decide for ``t``.

        soc (H',): of theirs, at the start of t. retail (N,): prices published for t and on.
        signals (T, 2): local prices, of which those before t are shown; None where there is no
        market to hear of. forecast: theirs. share_kwh: per interval under a cap, else None.
        """
        lag = int(self.lag[t])
        newest = self.origin + t - lag
        oldest = max(0, newest - round(trader.history * 0.5 / self.hours))
        sky = self.clear_sky if trader.uses_sun else None
        return Situation(
            t=t,
            slot=int(self.slot[t]),
            weekday=int(self.weekday[t]),
            past_load=self.load[which, oldest:newest],
            past_pv=self.pv[which, oldest:newest],
            retail=retail,
            feed_in=self.feed_in,
            soc=soc,
            battery=self.battery,
            connection=self.connection,
            rules=self.rules,
            lag=lag,
            hours=self.hours,
            market=market,
            past_local=None if signals is None else signals[:t],
            forecast=forecast if trader.uses_forecast else None,
            remaining=None if self.end is None else len(self.slot) - t,
            end=self.end,
            past_clear_sky=None if sky is None else sky[oldest:newest],
            clear_sky=None if sky is None else sky[self.origin + t :],
            grid_share_kwh=None if share_kwh is None else np.full(len(soc), share_kwh),
            scarcity_price=scarcity_price,
        )
