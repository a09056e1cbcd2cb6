"""The default trader: plan under uncertainty, offer the plan's marginal value as a curve.

Each interval the household plans its next days over scenarios (``programme``), offers what one
kWh more or less is worth to it as a falling curve of buy and sell steps, and once the market has
cleared lets the battery absorb the actual net load as long as that is worth more than the grid.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from common.arrays import Codes, Floats, Ints
from common.cadence import HALF_HOUR
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.errors import InputError
from common.forecast import own_days
from fl_client.trader import local_prices, programme
from fl_client.trader.base import (
    BAD_BATTERY,
    BAD_FORECAST,
    BUY,
    FINE,
    GREEN,
    HOLD,
    INFEASIBLE,
    NO_HISTORY,
    NO_PRICE,
    RED,
    SELL,
    STALE_FORECAST,
    Actual,
    Decision,
    PublishedTerms,
    Situation,
    no_orders,
)
from fl_client.trader.programme import ETA, EXPORT, HIGH, IMPORT, LOW, POWER
from fl_client.trader.rules import permitted
from fl_client.trader.steps import HALF_HOUR_H, Steps, steps_of

SCENARIOS = ("learned", "days", "model", "point")
CURRENT = ("analogous", "both")


@dataclass(frozen=True)
class Options:
    """Settings of the bid-curve trader, tuned on two months and checked on others.

    scenarios: where the future comes from: the home's own past days as the model corrects them,
    where it does; these days as they are; reshaped by the model's forecast of load; or that
    forecast alone as one point. current: what speaks for the current interval where nothing is
    learned, the analogous days alone or the recent days beside them.
    days: scenarios, one per past day. horizon_hours: how far is planned. points: of the grid of
    stored energy. trust, trust_sell: weight of the learned local price against the grid's, for
    buying and for selling; trust_moving: for both, where the tariff is made anew every day.
    step_kwh: width of an order's step, per half hour. model_share: how far the model's forecast
    reshapes the days.
    analogous_days of the last analogous_window_days, alike over analogous_hours, speak for the
    current interval. persistence: departures of the last recent_hours go on, load_now of them for
    load and pv_now for PV; of local prices those of the last price_hours, price_now of them, as
    long as that would have been right over the last price_window_days. Everything called fade is
    what is left of a weight after half an hour.
    """

    scenarios: str = "learned"
    current: str = "analogous"
    days: int = 14
    horizon_hours: float = 24.0
    points: int = 32
    trust: float = 0.7
    trust_alone: float = 0.6
    trust_sell: float = 0.8
    trust_moving: float = 0.3
    price_now: float = 0.9
    price_fade: float = 0.95
    price_hours: float = 1.0
    price_recent_fade: float = 0.5
    price_window_days: float = 7.0
    step_kwh: float = 0.1
    model_share: float = 0.5
    analogous_days: int = 14
    analogous_window_days: int = 56
    analogous_hours: float = 6.0
    analogous_fade: float = 0.95
    recent_hours: float = 3.0
    recent_fade: float = 0.7
    load_now: float = 0.6
    load_fade: float = 0.75
    pv_now: float = 0.9
    pv_fade: float = 0.92

    @staticmethod
    def of(values: Mapping[str, float | int | str | bool]) -> "Options":
        """Options from configuration. Raises InputError that names the option."""
        known = {field.name: field for field in fields(Options)}
        for name, value in values.items():
            if name not in known:
                now = f"; it is {_RENAMED[name]} now" if name in _RENAMED else ""
                raise InputError(
                    f"trader.options.{name}: trader 'bid-curve' has no such option{now}"
                )
            if name in _CHOICES:
                if value not in _CHOICES[name]:
                    raise InputError(
                        f"trader.options.{name} = {value!r}: expected {', '.join(_CHOICES[name])}"
                    )
                continue
            whole = isinstance(known[name].default, int)
            low, high = _RANGES[name]
            if isinstance(value, bool | str) or (whole and value != int(value)):
                raise InputError(f"trader.options.{name} = {value!r}: expected a number")
            if not low <= value <= high:
                raise InputError(f"trader.options.{name} = {value!r}: expected {low:g} to {high:g}")
        return Options(**values)  # type: ignore[arg-type]


_CHOICES = {"scenarios": SCENARIOS, "current": CURRENT}
_RANGES = {
    "days": (1, 60),
    "horizon_hours": (0.5, 720.0),
    "points": (3, 1000),
    "trust": (0.0, 1.0),
    "trust_alone": (0.0, 1.0),
    "trust_sell": (0.0, 1.0),
    "trust_moving": (0.0, 1.0),
    "price_now": (0.0, 1.0),
    "price_fade": (0.0, 1.0),
    "price_hours": (0.5, 24.0),
    "price_recent_fade": (0.0, 1.0),
    "price_window_days": (0.0, 60.0),
    "step_kwh": (0.001, 10.0),
    "model_share": (0.0, 1.0),
    "analogous_days": (0, 60),
    "analogous_window_days": (1, 366),
    "analogous_hours": (0.5, 24.0),
    "analogous_fade": (0.0, 1.0),
    "recent_hours": (0.5, 24.0),
    "recent_fade": (0.0, 1.0),
    "load_now": (0.0, 1.0),
    "load_fade": (0.0, 1.0),
    "pv_now": (0.0, 1.0),
    "pv_fade": (0.0, 1.0),
}


_RENAMED = {
    "horizon": "horizon_hours, in hours",
    "price_intervals": "price_hours, in hours",
    "price_window": "price_window_days, in days",
    "analogous_window": "analogous_window_days, in days",
    "analogous_intervals": "analogous_hours, in hours",
    "recent_intervals": "recent_hours, in hours",
}


class BidCurve:
    """Stochastic plan, bid curve, real-time recourse. See the module."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()

    @property
    def uses_forecast(self) -> bool:
        """Whether the model is asked."""
        return self.options.scenarios in ("model", "point")

    @property
    def corrects(self) -> bool:
        """Whether own days are taken as the model corrects them."""
        return self.options.scenarios == "learned"

    @property
    def uses_sun(self) -> bool:
        """The clear sky carries PV from past days to the coming one."""
        return self.options.scenarios != "point"

    @property
    def history(self) -> int:
        """Half hours of past readings read at most."""
        o = self.options
        reach = max(o.days + int(o.horizon_hours // 24), o.analogous_window_days) + 2
        return HALF_HOUR.per_day * reach + math.ceil(2 * max(o.analogous_hours, o.recent_hours))

    @property
    def plan_width(self) -> int:
        """Grid points of the value function."""
        return self.options.points

    def decide(self, situation: Situation) -> Decision:
        """Plan and offer a curve; see ``Trader.decide``."""
        count = situation.households
        spec = situation.battery.per_household(count)
        battery = _battery_rows(spec, situation.hours)
        limits = _limit_rows(situation.connection, count, situation.hours)
        reason = _forecast_faults(situation)
        store = np.ascontiguousarray(situation.soc * np.asarray(spec.capacity_kwh))
        reason[~np.isfinite(store)] = BAD_BATTERY
        retail, feed_in = situation.tariff(_planned(situation, self.options.horizon_hours))
        steps = retail.shape[1]
        if steps == 0:
            reason[:] = NO_PRICE
            return self._hold(situation, reason)
        parts = steps_of(situation.slot, steps, situation.hours)
        net, now = self._scenarios(situation, steps, parts)
        unknown = ~(np.isfinite(net).all(axis=(1, 2)) & np.isfinite(now).all(axis=1))
        reason[(reason == FINE) & unknown] = NO_HISTORY
        sound = reason == FINE
        # What is not sound is planned with harmless numbers, and its plan is thrown away.
        store = np.where(sound, np.clip(store, battery[:, LOW], battery[:, HIGH]), battery[:, LOW])
        net = np.where(sound[:, None, None], net, 0.0)
        now = np.where(sound[:, None], now, 0.0)
        buy, sell, buy_now, sell_now = self._prices(situation, retail, feed_in, net.shape[1], parts)
        value = programme.plan(
            net,
            buy,
            sell,
            self._final(situation, battery, retail),
            _battery_rows(spec, parts.hours),
            _limit_rows(situation.connection, count, parts.hours),
            _soft_import(situation) * (parts.hours / situation.hours),
            parts.length,
        )
        reason[sound & ~np.isfinite(value).all(axis=1)] = INFEASIBLE
        sound = reason == FINE
        gain = programme.gains(value, battery, limits, store, now, buy_now, sell_now)
        side, quantity, price = self._curve(
            situation,
            np.ascontiguousarray(retail[:, 0]),
            np.ascontiguousarray(feed_in[:, 0]),
            value,
            battery,
            limits,
            store,
            now,
            sound,
        )
        action = _action(side, price, buy_now[:, None])
        usable = np.maximum(battery[:, HIGH] - battery[:, LOW], 1e-9)
        typical = (
            GAIN_OF_50
            * _half_hours(situation)
            * usable
            * np.maximum(np.abs(retail[:, 0]), LEAST_PRICE)
        )
        gain = np.where(sound, np.maximum(gain, 0.0), 0.0)
        down = np.minimum(battery[:, POWER], (store - battery[:, LOW]) * battery[:, ETA])
        return Decision(
            side,
            quantity,
            price,
            score=100.0 * gain / (gain + typical),
            need=np.where(_means(now) > down, RED, GREEN).astype(np.int8),
            action=action,
            reason=reason,
            plan=np.where(sound[:, None], value, np.nan),
        )

    def dispatch(self, plan: Floats, actual: Actual) -> Floats:
        """Absorb the actual net load while that is worth more than the grid."""
        count = len(actual.soc)
        spec = actual.battery.per_household(count)
        rows = _battery_rows(spec, actual.hours)
        store = np.clip(actual.soc * np.asarray(spec.capacity_kwh), rows[:, LOW], rows[:, HIGH])
        net = actual.net_load - actual.bought + actual.sold
        open_ended = np.full((count, 2), np.inf)
        plan, allowance = np.ascontiguousarray(plan), actual.allowance
        retail, feed_in = (
            np.ascontiguousarray(np.broadcast_to(np.asarray(price, dtype=np.float64), count))
            for price in (actual.retail, actual.feed_in)
        )
        # What is missing of a sale, or left of a purchase, has prices of its own.
        if actual.shortfall is not None:
            retail = np.where(actual.sold > 0, np.maximum(actual.shortfall, retail), retail)
        if actual.unused is not None:
            feed_in = np.where(actual.bought > 0, np.minimum(actual.unused, feed_in), feed_in)
        wish = programme.actions(plan, rows, open_ended, store, net, retail, feed_in)
        if allowance is not None:
            # Beyond the allowance every kWh costs the scarcity price: rather less charge, or more
            # discharge, as far as stored energy is worth less than that.
            dear = np.maximum(retail, actual.scarcity_price)
            spare = programme.actions(plan, rows, open_ended, store, net, dear, feed_in)
            over = net + wish > allowance
            within = np.minimum(wish, np.maximum(spare, allowance - net))
            wish = np.where(over, within, wish)
        return permitted(wish, actual)

    # ---- parts --------------------------------------------------------------------------------

    def _scenarios(self, situation: Situation, steps: int, parts: Steps) -> tuple[Floats, Floats]:
        """Net load of the plan's ``parts`` (H, W, K), and of the current interval (H, W')."""
        o, ahead = self.options, situation.forecast
        if o.scenarios == "point" and ahead is not None:
            net = np.ascontiguousarray(ahead.load, dtype=np.float64)
            net = (net if ahead.pv is None else net - ahead.pv)[:, None, :steps]
            return parts.total(np.ascontiguousarray(net)), np.ascontiguousarray(net[:, :, 0])
        day, lag = situation.steps_per_day, situation.lag
        long = _half_hours(situation)
        past_load = np.ascontiguousarray(situation.past_load)
        past_pv = np.ascontiguousarray(situation.past_pv)
        load = own_days.recent_days(past_load, lag, day, o.days, steps)
        pv = own_days.recent_days(past_pv, lag, day, o.days, steps)
        if situation.past_clear_sky is not None and situation.clear_sky is not None:
            past_clear = np.ascontiguousarray(situation.past_clear_sky)
            own_days.follow_sun(pv, past_clear, np.ascontiguousarray(situation.clear_sky), lag, day)
        if o.scenarios == "model" and ahead is not None:
            quantiles = ahead.quantiles
            known = ahead.load.shape[1]
            if quantiles is None:
                quantiles = np.zeros((len(load), 0, known))
            levels = np.array(ahead.levels[: quantiles.shape[1]], dtype=np.float64)
            own_days.reshape(
                load,
                np.ascontiguousarray(ahead.load, dtype=np.float64),
                np.ascontiguousarray(quantiles, dtype=np.float64),
                levels,
                o.model_share,
                known,
            )
        net = own_days.persist(
            load,
            pv,
            past_load,
            past_pv,
            lag,
            day,
            _count(o.recent_hours, situation),
            o.recent_fade**long,
            o.load_now,
            o.load_fade**long,
            o.pv_now,
            o.pv_fade**long,
            TRACE_KWH * long,
        )
        now = np.ascontiguousarray(net[:, :, 0])
        if o.analogous_days:
            alike = own_days.analogous(
                past_load - past_pv,
                lag,
                day,
                o.analogous_days,
                o.analogous_window_days,
                _count(o.analogous_hours, situation),
                o.analogous_fade**long,
            )
            # Without a like day the persistent scenarios speak.
            spare = now[:, np.arange(o.analogous_days) % now.shape[1]]
            alike = np.where(np.isfinite(alike), alike, spare)
            now = np.hstack((now, alike)) if o.current == "both" else alike
        net = parts.total(net)
        if o.scenarios == "learned" and situation.net is not None:
            quantiles = np.full((*situation.net.shape[:2], steps), np.nan)
            known = min(steps, situation.net.shape[2])
            quantiles[:, :, :known] = situation.net[:, :, :known]
            own_days.take_ranks(net, parts.total(quantiles))
            now = np.ascontiguousarray(now)
            own_days.take_ranks(now[:, :, None], quantiles)
        return net, now

    def _prices(
        self, situation: Situation, retail: Floats, feed_in: Floats, count: int, parts: Steps
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Buy and sell price (H, ``count``, K) of each scenario in the plan's ``parts``.

        And their means (H,) over the scenarios for the current interval.
        """
        local = situation.past_local
        if not situation.market or local is None:
            local = np.empty((0, 2))
        o, day = self.options, situation.steps_per_day
        long = _half_hours(situation)
        past = np.ascontiguousarray(local, dtype=np.float64)
        recent, recent_fade = _count(o.price_hours, situation), o.price_recent_fade**long
        fade, window = o.price_fade**long, round(o.price_window_days * day)
        loss, fee = situation.rules.loss, situation.rules.local_fee
        ceiling = NO_CEILING if situation.grid_share_kwh is None else situation.scarcity_price
        tariffs, tariff_of = _distinct(retail, feed_in)
        paths = []
        for h in tariffs:
            own, relative = past, False
            # Under a cap local prices tell scarcity, which comes at the same hours.
            if situation.past_tariff is not None and len(past) and ceiling == NO_CEILING:
                then, paid = (
                    np.broadcast_to(p, (len(retail), len(past)))[h] for p in situation.past_tariff
                )
                if _moves(then[-o.days * day :], retail[h]):
                    own = np.ascontiguousarray(
                        local_prices.from_tariff(past, then, paid, loss, fee)
                    )
                    relative = True
            now = local_prices.lasting(
                own, day, o.days, recent, recent_fade, o.price_now, fade, window
            )
            alone = o.trust if now.any() or not o.price_now else o.trust_alone
            # Where a tariff moves, neighbours want the same at the same time, and have little.
            trust = min(alone, o.trust_moving)
            paths.append(
                local_prices.paths(
                    own,
                    situation.lag,
                    day,
                    np.ascontiguousarray(retail[h]),
                    np.ascontiguousarray(feed_in[h]),
                    loss,
                    trust if relative else alone,
                    trust if relative else o.trust_sell,
                    count,
                    ceiling,
                    now,
                    fade,
                    recent,
                    recent_fade,
                    fee,
                    relative,
                )
            )
        means = [
            np.array([float(path[side][:, 0].sum()) / count for path in paths])[tariff_of]
            for side in range(2)
        ]
        planned = [[parts.mean(side) for side in path] for path in paths]
        if len(paths) == 1:
            shape = (len(retail), *planned[0][0].shape)
            buy, sell = (np.broadcast_to(price, shape) for price in planned[0])
        else:
            buy, sell = (np.stack([path[side] for path in planned])[tariff_of] for side in range(2))
        return buy, sell, means[0], means[1]

    def _final(self, situation: Situation, battery: Floats, retail: Floats) -> Floats:
        """Value of the store after the last planned step (H, G)."""
        share = np.linspace(0.0, 1.0, self.options.points)
        low, high = battery[:, LOW, None], battery[:, HIGH, None]
        grid = low + (high - low) * share
        last = situation.remaining is not None and situation.remaining == retail.shape[1]
        if last and situation.end is not None:
            reference, shortfall, surplus = (
                np.reshape(part, (-1, 1))
                for part in (
                    situation.end.reference_kwh,
                    situation.end.shortfall_price,
                    situation.end.surplus_price,
                )
            )
            left = grid - reference
            return np.asarray(np.where(left < 0, left * shortfall, left * surplus))
        # Far ahead: a stored kWh will save about what the cheapest hours charge for one.
        cheapest = retail.min(axis=1)
        if (cheapest < 0).any():
            # A price below zero does not last: what a whole charge costs at the cheapest.
            hours = np.maximum(battery[:, HIGH] - battery[:, LOW], 1e-9) / (
                battery[:, ETA] * np.maximum(battery[:, POWER], 1e-9)
            )
            needed = np.clip(np.ceil(hours), 1, retail.shape[1])
            rank = np.arange(retail.shape[1])
            among = np.where(rank < needed[:, None], np.sort(retail, axis=1), 0.0)
            whole = np.maximum(_means(among) * retail.shape[1] / needed, 0.0)
            cheapest = np.where(cheapest < 0, whole, cheapest)
        return np.asarray((grid - low) * (battery[:, ETA, None] * cheapest[:, None]))

    def _curve(
        self,
        situation: Situation,
        retail: Floats,
        feed_in: Floats,
        value: Floats,
        battery: Floats,
        limits: Floats,
        store: Floats,
        now: Floats,
        sound: NDArray[np.bool_],
    ) -> tuple[Codes, Floats, Floats]:
        """Orders: blocks of ``step_kwh`` at the marginal value of the block's middle."""
        count = situation.households
        imports, exports = float(limits[:, IMPORT].max()), float(limits[:, EXPORT].max())
        width = max(
            self.options.step_kwh * _half_hours(situation),
            (imports + exports) / situation.rules.max_steps,
        )
        most_buy, most_sell = (int(limit / width + 1e-9) for limit in (imports, exports))
        terms = situation.terms or _terms(retail, feed_in, situation)
        if not situation.market or most_buy + most_sell == 0 or terms.lowest > terms.highest:
            return no_orders(count)
        middle = (np.arange(-most_sell, most_buy) + 0.5) * width
        worth = programme.marginal_curve(
            value, battery, limits, store, now, retail, feed_in, terms.shortfall, terms.unused,
            middle, width,
        )  # fmt: skip
        if situation.grid_share_kwh is not None:
            # What is wanted from the grid anyway is worth up to the price of passing the allowance.
            scarce = np.maximum(retail, situation.scarcity_price)
            dear = programme.marginal_curve(
                value, battery, limits, store, now, scarce, feed_in, terms.shortfall, terms.unused,
                middle, width,
            )  # fmt: skip
            wanted = programme.expected_import(value, battery, limits, store, now, retail, feed_in)
            first = (middle > 0) & (middle < wanted[:, None])
            worth = np.where(first, np.maximum(worth, dear), worth)
        worth[~sound] = np.nan
        side, quantity, price = programme.order_steps(
            worth, middle, width, terms.lowest, terms.highest, terms.shortfall
        )
        used = max(1, int((side != HOLD).sum(axis=1).max()))
        return side[:, :used], quantity[:, :used], price[:, :used]

    def _hold(self, situation: Situation, reason: Codes) -> Decision:
        count = situation.households
        return Decision(
            *no_orders(count),
            score=np.zeros(count),
            need=np.full(count, GREEN, np.int8),
            action=np.full(count, HOLD, np.int8),
            reason=reason,
            plan=np.full((count, self.plan_width), np.nan),
        )


# Schedules have no more different prices than this.
SCHEDULE = 12
# Under no cap no local price above the grid's is believed.
NO_CEILING = -np.inf
# Prices nearer to zero than this tell nothing of what a gain should be measured by.
LEAST_PRICE = 0.001
# A gain per half hour of this share of (usable store x retail price) scores 50.
GAIN_OF_50 = 0.02
# PV per half hour below which it dawns: too little to tell how clear the day is.
TRACE_KWH = 0.05
# A forecast that has not seen the last day knows less than the home's own past.
STALE_AFTER_H = 24.0


def _forecast_faults(situation: Situation) -> Codes:
    """Reason (H,) not to trade on the forecast at hand; FINE where it is sound or not there."""
    reason = np.full(situation.households, FINE, np.int8)
    ahead = situation.forecast
    if ahead is None:
        return reason
    if ahead.age * situation.hours > STALE_AFTER_H:
        reason[:] = STALE_FORECAST
    reason[~np.isfinite(ahead.load).all(axis=1)] = BAD_FORECAST
    for part in (ahead.pv, ahead.quantiles):
        if part is not None:
            reason[~np.isfinite(part).reshape(len(reason), -1).all(axis=1)] = BAD_FORECAST
    return reason


def _soft_import(situation: Situation) -> Floats:
    share = situation.grid_share_kwh
    if share is None:
        return np.full(situation.households, np.inf)
    return np.ascontiguousarray(share, dtype=np.float64)


def _means(rows: Floats) -> Floats:
    """Mean of each row, summed in the same order whatever the number of rows."""
    return np.array([float(sum(row)) / len(row) for row in rows.tolist()])


def _battery_rows(spec: BatterySpec, hours: float) -> Floats:
    """(H, 5): lowest and highest store [kWh], one-way efficiency, kWh per interval, wear."""
    capacity = np.asarray(spec.capacity_kwh)
    return np.stack(
        [
            np.asarray(spec.soc_min) * capacity,
            np.asarray(spec.soc_max) * capacity,
            spec.eta,
            np.asarray(spec.power_kw) * hours,
            np.asarray(spec.wear_cost_per_kwh),
        ],
        axis=1,
    )


def _limit_rows(connection: ConnectionSpec, count: int, hours: float) -> Floats:
    return np.stack([np.broadcast_to(limit, count) for limit in connection.limits(hours)], axis=1)


def _half_hours(situation: Situation) -> float:
    """How many half hours an interval is: what fades by the half hour, and energies of one."""
    return situation.hours / HALF_HOUR_H


def _count(hours: float, situation: Situation) -> int:
    """How many intervals ``hours`` are, at least one."""
    return max(1, round(hours / situation.hours))


def _planned(situation: Situation, horizon_hours: float) -> int:
    """How many intervals are planned: the horizon, or what remains of the run."""
    steps = _count(horizon_hours, situation)
    return steps if situation.remaining is None else min(steps, situation.remaining)


def _distinct(retail: Floats, feed_in: Floats) -> tuple[Ints, Ints]:
    """Rows that stand for each distinct tariff of H households, and each household's among them."""
    same = (retail == retail[0]).all() and (feed_in == feed_in[0]).all()
    if same:
        return np.zeros(1, np.int64), np.zeros(len(retail), np.int64)
    both = np.concatenate((retail, feed_in), axis=1)
    _, rows, tariff_of = np.unique(both, axis=0, return_index=True, return_inverse=True)
    return rows, tariff_of.reshape(-1)


def _moves(past: Floats, ahead: Floats) -> bool:
    """Whether a tariff is made anew every day, and not of the few prices of a schedule.

    Yesterday's local price then says nothing of today's, but how far it was from the grid's does.
    """
    known = np.concatenate((past[np.isfinite(past)], ahead))
    return len(np.unique(known)) > SCHEDULE


def _terms(retail: Floats, feed_in: Floats, situation: Situation) -> PublishedTerms:
    """What the market publishes where these households are all its members."""
    dearest, lowest = max(retail.max(), feed_in.max()), min(retail.min(), feed_in.min())
    keep = 1.0 - situation.rules.loss
    highest = float(retail.max())
    if situation.grid_share_kwh is not None:
        highest = max(highest, situation.scarcity_price)
    return PublishedTerms(
        lowest=float(feed_in.min()) - situation.rules.local_fee,
        highest=highest,
        shortfall=float(max(dearest, dearest * keep)),
        unused=float(min(lowest, lowest / keep)),
    )


def _action(side: Codes, price: Floats, reference: Floats) -> Codes:
    """BUY where the curve would buy at the usual price, SELL where it would sell, else HOLD."""
    buys = ((side == BUY) & (price >= reference)).any(axis=1)
    sells = ((side == SELL) & (price <= reference)).any(axis=1)
    return np.where(buys, BUY, np.where(sells, SELL, HOLD)).astype(np.int8)
