"""Deciding an interval: ask the model, ask the trader, and put its curve into orders."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from common.arrays import Codes, Floats, Ints
from common.energy.tariff import EndValue, end_value
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from fl_client.log import Log
from fl_client.physics import Physics
from fl_client.prices import PublicPrices
from fl_client.readings import Calendar
from fl_client.tokens import Tokens
from fl_client.trader.base import HOLD_REASONS, Decision, Situation, Trader, TraderForecast
from fl_client.trader.scene import Scene

_logger = logging.getLogger(__name__)


class DayAhead(NamedTuple):
    """Forecasts (H, 48) by half hours for ``households``: consumption [kWh], retail price;
    quantiles (H, Q, 48) of consumption at ``levels``, or None; production [kWh], or None."""

    households: Ints
    consumption: Floats
    price: Floats
    quantiles: Floats | None
    levels: tuple[float, ...]
    production: Floats | None = None


# (households of the group, half hours at the end of their histories that are not known yet, how
# many of these to skip) -> forecast for those of them that have a model; None where nobody has
AskModel = Callable[[Ints, int, int], DayAhead | None]


# The same -> quantiles (H, Q, 48) of net load from there on, nan where there are none
AskNet = Callable[[Ints, int, int], Floats | None]


def no_forecast(households: Ints, unknown: int, lag: int) -> DayAhead | None:
    """Forecast nothing: what households without a model do."""
    return None


def no_net(households: Ints, unknown: int, lag: int) -> Floats | None:
    """Correct nothing: own days as they are."""
    return None


# (interval, households, what they knew, what they decided, their trader)
HandOver = Callable[[int, Ints, Situation, Decision, Trader], None]


def nothing_to_hand_over(
    t: int, which: Ints, situation: Situation, decision: Decision, trader: Trader
) -> None:
    """Tell nobody: batteries that are computed follow their plan by themselves."""


class Deciding:
    """The traders of H households, and the models they ask. Writes decisions into ``log``.

    ``scenes``: households of one calendar and one trader, and what it may see. ``ask`` may be
    replaced at any time. Nothing measured at interval t or later is read for the decision of t.
    """

    def __init__(
        self,
        scenes: Sequence[tuple[Calendar, Scene, Trader]],
        *,
        log: Log,
        prices: PublicPrices,
        physics: Physics,
        names: Sequence[str],
        tokens: Tokens,
    ) -> None:
        self.ask: AskModel = no_forecast
        self.ask_net: AskNet = no_net
        self.hand_over: HandOver = nothing_to_hand_over
        self._scenes = scenes
        self._log, self._prices, self._physics = log, prices, physics
        self._names, self._tokens = names, tokens
        self._intervals = tokens.intervals
        self._ends: dict[int, EndValue] = {}  # by scene, once all prices of the run are known
        self._held = np.zeros(len(names), np.int8)  # why each household's trader holds, if it does

    def decide(self, t: int, *, market: bool = True) -> None:
        """Decide interval t for every household; ``market`` False: none of them can order."""
        orders: list[Ints] = [np.zeros((0, 3), dtype=np.int64)] * len(self._names)
        for calendar, scene, trader in self._scenes:
            ahead = self._forecast(t, calendar, trader)
            net = self._net(t, calendar, trader)
            informed = calendar.index if ahead is None else ahead.households
            others = np.setdiff1d(calendar.index, informed)
            # Those without a model, while others have one, decide as they would alone.
            for which, known in ((informed, ahead), (others, None)):
                if len(which):
                    mine = None if net is None else net[np.searchsorted(calendar.index, which)]
                    decision = self._consider(
                        t, calendar, scene, trader, which, known, mine, market
                    )
                    for h, order in zip(which, orders_of(decision), strict=True):
                        orders[h] = order
        self._log.orders = orders
        self._log.decided = t

    def unknown(self, h: int) -> int:
        """Half hours at the end of ``h``'s history that the next decision may not read."""
        t = min(self._log.decided + 1, self._intervals - 1)
        calendar = next(calendar for calendar, *_ in self._scenes if h in calendar.index)
        # What has not been settled is not known either, whatever the source says.
        newest = min(t - int(calendar.lag[t]), self._log.settled + 1)
        return self._tokens.count - self._tokens.over(newest)

    def end_value(self, h: int) -> EndValue:
        """What is left in household ``h``'s battery at the end is worth, by the run's prices."""
        calendar, scene = next((c, s) for c, s, _ in self._scenes if h in c.index)
        return self._end(calendar, scene, np.array([h]))

    def worth(self, h: int, first: int, end: int) -> EndValue:
        """What a change of household ``h``'s store is worth by the prices of the intervals from
        ``first`` to ``end``, the last left out; its reference is an empty store."""
        scene = next(scene for calendar, scene, _ in self._scenes if h in calendar.index)
        own, span = np.array([h]), slice(first, end)
        value = end_value(
            scene.battery.among(own),
            self._prices.retail[own, span],
            self._prices.feed_in[own, span],
            np.atleast_2d(scene.days)[:, span],
        )
        return EndValue(0.0, value.shortfall_price, value.surplus_price)

    def _end(self, calendar: Calendar, scene: Scene, which: Ints) -> EndValue:
        """End value for households of one scene; what is known of prices is all there will be."""
        if id(scene) not in self._ends:
            run = slice(0, self._intervals)
            self._ends[id(scene)] = end_value(
                scene.battery.among(calendar.index),
                self._prices.retail[calendar.index, run],
                self._prices.feed_in[calendar.index, run],
                scene.days,
            )
        return self._ends[id(scene)].among(np.searchsorted(calendar.index, which))

    def _consider(
        self,
        t: int,
        calendar: Calendar,
        scene: Scene,
        trader: Trader,
        which: Ints,
        ahead: DayAhead | None,
        net: Floats | None,
        market: bool,
    ) -> Decision:
        pick = slice(None) if len(which) == len(self._names) else which
        log, prices = self._log, self._prices
        retail, feed_in = prices.ahead(t, pick)
        last = scene.ends and t + retail.shape[1] >= self._intervals
        before = self._physics.before(t)
        situation = scene.situation(
            t,
            trader,
            pick,
            self._physics.soc_known(t)[pick],
            retail,
            feed_in,
            market=market,
            signals=prices.signals,
            forecast=None if ahead is None else self._for_trader(ahead, t, int(scene.lag[t])),
            net=None if net is None else self._tokens.energy(net, t),
            share_kwh=prices.share_kwh,
            scarcity_price=prices.scarcity_price,
            terms=prices.terms,
            end=self._end(calendar, scene, which) if last else None,
            past_tariff=(prices.retail[pick, :t], prices.feed_in[pick, :t]),
        )
        decision = trader.decide(situation)
        log.plan[pick, : trader.plan_width] = decision.plan
        self.hand_over(t, which, situation, decision, trader)
        self._tell(t, which, decision.reason)
        for name in ("score", "need", "action", "reason"):
            log[name][pick, t] = getattr(decision, name)
        log["retail"][pick, t] = retail[:, 0] if retail.size else np.nan
        log["feed_in"][pick, t] = feed_in[:, 0] if feed_in.size else np.nan
        if ahead is not None:
            log["forecast_load"][pick, t] = self._tokens.energy(ahead.consumption, t)[:, 0]
        if self._physics.shadowed:
            alone = replace(
                situation, market=False, past_local=None, soc=before["shadow_soc"][pick],
                grid_share_kwh=None, scarcity_price=0.0,
            )  # fmt: skip
            log.shadow_plan[pick, : trader.plan_width] = trader.decide(alone).plan
            if log.durable:
                # What the shared model is worth to the people of a house: they are shown it.
                unaided = replace(alone, forecast=None, net=None, soc=before["unaided_soc"][pick])
                log.unaided_plan[pick, : trader.plan_width] = trader.decide(unaided).plan
        return decision

    def _tell(self, t: int, households: Ints, reasons: Codes) -> None:
        """Say why a household's trader holds: once, when the reason comes up."""
        for h in households[reasons != self._held[households]]:
            reason = int(reasons[np.flatnonzero(households == h)[0]])
            self._held[h] = reason
            if reason:
                _logger.warning(
                    "%s: trader holds from %d on: %s", self._names[h], t, HOLD_REASONS[reason]
                )

    def _net(self, t: int, calendar: Calendar, trader: Trader) -> Floats | None:
        """Own days as the model corrects them, where the trader plans with them."""
        if not trader.corrects:
            return None
        return self.ask_net(calendar.index, *self._unknown(t, calendar))

    def _unknown(self, t: int, calendar: Calendar) -> tuple[int, int]:
        """When interval t is decided: how many half hours at the end of the histories of one
        calendar are not known, and how many of them lie before that of t."""
        over = self._tokens.over(t - int(calendar.lag[t]))
        return self._tokens.count - over, self._tokens.at(t) - over

    def _for_trader(self, ahead: DayAhead, t: int, lag: int) -> TraderForecast:
        """A forecast by half hours in intervals from t on."""
        quantiles = ahead.quantiles
        return TraderForecast(
            self._tokens.energy(ahead.consumption, t),
            self._tokens.level(ahead.price, t),
            None if quantiles is None else self._tokens.energy(quantiles, t),
            ahead.levels,
            lag,
            None if ahead.production is None else self._tokens.energy(ahead.production, t),
        )

    def _forecast(self, t: int, calendar: Calendar, trader: Trader) -> DayAhead | None:
        """The model's forecast for the trader; at midnight it is kept, whoever reads it."""
        midnight = calendar.slot[t] == 0
        if not (midnight or trader.uses_forecast):
            return None
        ahead = self.ask(calendar.index, *self._unknown(t, calendar))
        if ahead is not None and midnight:
            for h, consumption, price in zip(
                ahead.households, ahead.consumption, ahead.price, strict=True
            ):
                self._log.midnight[h][t] = (consumption.copy(), price.copy())
        return ahead if trader.uses_forecast else None


def orders_of(decision: Decision) -> list[Ints]:
    """(M, 3) rows (side, quantity mWh, price 1e-6 per kWh) of each household.

    Rounded so that nobody offers more than it has or a worse price than it means: quantities
    down, a buyer's price down, a seller's price up.
    """
    price = decision.price * MICRO
    price = np.where(decision.side > 0, np.floor(price + 1e-6), np.ceil(price - 1e-6))
    quantity = np.floor(decision.quantity_kwh * MILLI_WH_PER_KWH + 1e-6)
    table = np.stack([decision.side.astype(np.float64), quantity, price], axis=2)
    used = (decision.side != 0) & (quantity > 0)
    return [
        np.nan_to_num(rows[keep]).astype(np.int64) for rows, keep in zip(table, used, strict=True)
    ]
