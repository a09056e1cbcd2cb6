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
from fl_client.trader.base import PublishedTerms, Situation, Trader, TraderForecast


@dataclass(frozen=True)
class Scene:
    """H homes whose clocks and meters tick alike, and what stays the same all through a run.

    load, pv (H, R) [kWh per interval], ``origin`` being the row of interval 0. slot, weekday, lag
    (T,): of interval t, see ``Situation``. days (T,): numbers that tell local days apart.
    clear_sky (R,): irradiance, None where unknown. ends: whether the run has an end, at which what
    is stored has a value.
    """

    load: Floats
    pv: Floats
    origin: int
    slot: Ints
    weekday: Ints
    days: Ints
    lag: Ints
    clear_sky: Floats | None
    battery: BatterySpec
    connection: ConnectionSpec
    rules: MarketRules
    ends: bool = False
    hours: float = 0.5

    def situation(
        self,
        t: int,
        trader: Trader,
        which: Ints | slice,
        soc: Floats,
        retail: Floats,
        feed_in: float | Floats,
        *,
        market: bool = True,
        signals: Floats | None = None,
        forecast: TraderForecast | None = None,
        net: Floats | None = None,
        share_kwh: float | None = None,
        scarcity_price: float = 0.0,
        terms: PublishedTerms | None = None,
        end: EndValue | None = None,
        past_tariff: tuple[Floats, Floats] | None = None,
    ) -> Situation:
        """What the homes ``which`` know when they decide for ``t``.

        soc (H',): of theirs, at the start of t. retail, feed_in, terms, past_tariff: as in
        ``Situation``. end:
        value of what is stored at the run's end, for these homes, once all its prices are known.
        signals (T, 2): local prices, of which those before t are shown; None where there is no
        market to hear of. forecast, net: theirs. share_kwh: per interval under a cap, else None.
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
            feed_in=feed_in,
            soc=soc,
            battery=self.battery.among(which),
            connection=self.connection.among(which),
            rules=self.rules,
            lag=lag,
            hours=self.hours,
            market=market,
            past_local=None if signals is None else signals[:t],
            forecast=forecast if trader.uses_forecast else None,
            net=net if trader.corrects else None,
            remaining=len(self.slot) - t if self.ends else None,
            end=end,
            past_clear_sky=None if sky is None else sky[oldest:newest],
            clear_sky=None if sky is None else sky[self.origin + t :],
            grid_share_kwh=None if share_kwh is None else np.full(len(soc), share_kwh),
            scarcity_price=scarcity_price,
            terms=terms,
            past_tariff=None if signals is None else past_tariff,
        )
