"""Households that step together: settle the interval that is over, then decide the next one.

Array-first: H households step as one, and one household is H = 1; what a household does is the
same to the last bit either way. Nothing measured at interval t or later is read before t is over.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Floats, Ints
from common.config import Settings
from common.data.frame import COLUMNS, INTERVAL
from common.energy.ageing import age
from common.energy.battery import step
from common.energy.connection import flows
from common.energy.pv import clear_sky
from common.energy.tariff import EndValue, grid_cost
from common.errors import InputError
from common.forecast.history import History
from common.market_rules import MICRO, MILLI_WH_PER_KWH, MarketRules
from common.messages import IntervalReply, IntervalRequest, Join, MessageError
from fl_client.readings import Clock, Member, Readings
from fl_client.state import QUANTITIES, State
from fl_client.trader import make_trader
from fl_client.trader.base import REASONS, Decision, Situation, TraderForecast

DAY = 48
_NO_CAP = (-1, 0)
_log = logging.getLogger(__name__)
_SENSORS = slice(COLUMNS.index("battery_soc"), COLUMNS.index("battery_cycles") + 1)


class DayAhead(NamedTuple):
    """Forecasts (H, 48) from one interval on for ``households``: consumption [kWh], retail price;
    quantiles (H, Q, 48) of consumption at ``levels``, or None."""

    households: Ints
    consumption: Floats
    price: Floats
    quantiles: Floats | None
    levels: tuple[float, ...]


# (households of the group, rows at the end of their histories that are not known yet, how many
# intervals to skip) -> forecast for those of them that have a model; None where nobody has
Forecaster = Callable[[Ints, int, int], DayAhead | None]


def no_forecast(households: Ints, unknown: int, lag: int) -> DayAhead | None:
    """Forecast nothing: what households without a model do."""
    return None


class Group:
    """H households of one run that step together.

    ``forecast`` may be replaced at any time. The households' files are written every
    ``flush_every`` intervals, and at the end. Raises InputError where a household's readings do
    not cover the run.
    """

    def __init__(
        self, members: Sequence[Member], settings: Settings, join: Join, *, flush_every: int = 1
    ) -> None:
        self.join = join
        self.forecast: Forecaster = no_forecast
        # What household h tells of itself at the end; nothing, unless somebody sets it.
        self.closing_report: Callable[[int], Mapping[str, float]] = lambda h: {}
        count, intervals = len(members), join.intervals
        self.intervals = intervals
        self.origin = settings.run.history_days * DAY  # the row that interval 0 has
        self.battery = settings.battery_spec
        self.connection = settings.connection_spec
        market = settings.market
        self.rules = MarketRules(market.loss, market.min_margin, market.max_steps)
        self.trader = make_trader(settings.trader.kind, settings.trader.options)
        self._shadowed = settings.run.shadow
        self._flush_every = flush_every
        self._keep_plans = 2 * settings.run.checkpoint_every
        start = pd.Timestamp(join.start)
        self._index = pd.date_range(
            start - self.origin * INTERVAL, periods=self.origin + intervals, freq=INTERVAL
        )
        self._times = [time.isoformat() for time in self._index[self.origin :]]
        self._readings = Readings(members, self._index, self.origin)
        self.about = self._readings.about
        self.names = [one.name for one in self.about]
        self.load, self.pv = self._readings.load, self._readings.pv
        self._sun = [self._clear_sky(clock) for clock in self._readings.clocks]
        self.log = {name: np.full((count, intervals), np.nan) for name in QUANTITIES}
        self.signals = np.full((intervals, 2), np.nan)
        self._plan = np.zeros((count, self.trader.plan_width))
        self._shadow_plan = np.zeros_like(self._plan)
        self._held = np.zeros(count, np.int8)
        self._retail = np.full(intervals + settings.tariff.published_intervals, np.nan)
        self._feed_in = settings.tariff.feed_in
        # Under a community cap: an equal part of it [kWh] and the price beyond an allowance.
        self._share: float | None = None
        self._scarcity = 0.0
        # Per household, the forecasts issued at its midnights: {t: (consumption, price)}.
        self.midnight: list[dict[int, tuple[Floats, Floats]]] = [{} for _ in members]
        self.settled = join.first - 2 if join.first > 0 else -1
        self.decided = join.first - 1
        self._written = self.settled
        self._saved = self.decided
        self._replies: list[IntervalReply] = []
        self._durable = members[0].durable
        self.states = [State(member.directory, durable=self._durable) for member in members]
        self._restore()

    # ---- set-up -------------------------------------------------------------------------------

    @property
    def histories(self) -> list[History]:
        """All columns of every household, with the battery's sensors up to the last settlement."""
        made = self._readings.has_histories
        histories = self._readings.histories
        if not made:
            for t in range(self.settled + 1):
                self._sense(t)
        return histories

    def _clear_sky(self, clock: Clock) -> Floats | None:
        """Clear-sky irradiance of the run's rows, where a trader looks at it."""
        sunny = self.trader.uses_sun and bool((self.pv[clock.index] > 0).any())
        return clear_sky(self._index, clock.timezone) if sunny else None

    def _restore(self) -> None:
        """Read back what the run had done before ``join.first``."""
        for h, state in enumerate(self.states):
            about = {"run": self.join.run, "household": self.names[h], "start": self.join.start}
            state.begin(about, self.join.first)
            rows = state.rows()
            if len(rows) != self.join.first:
                raise InputError(
                    f"household {self.names[h]} has {len(rows)} intervals of the run, "
                    f"cannot resume at interval {self.join.first}"
                )
            self._read_back(h, rows)
        for t in range(self.settled + 1):
            self._sense(t)
        if self.join.first > 0:
            self.signals[: self.settled + 1, 0] = self.log["local_buy"][0, : self.settled + 1]
            self.signals[: self.settled + 1, 1] = self.log["local_sell"][0, : self.settled + 1]
            self._retail[: self.decided + 1] = self.log["retail"][0, : self.decided + 1]

    # ---- one interval -------------------------------------------------------------------------

    def advance(self, requests: Sequence[IntervalRequest]) -> list[IntervalReply]:
        """Settle what is over and answer with readings and orders, one reply per household.

        All requests are for one interval t. A request that is repeated gets the same reply again.
        Raises MessageError for a request of another run or of an interval long past.
        """
        t = requests[0].t
        if any(r.t != t or r.run != self.join.run for r in requests):
            raise MessageError("requests of different intervals or another run")
        closing = requests[0].closing
        if t == self.decided and not closing:
            return self._again(requests)
        if t <= self.decided and not (closing and t == self.decided + 1):
            raise MessageError(f"interval {t} is over: {self.decided} has been decided")
        if t > self.intervals or (t == self.intervals) != closing:
            raise MessageError(f"interval {t} is outside the run of {self.intervals}")
        self._learn_prices(requests[0])
        self._settle_until(t - 1, requests)
        readings = [self._metered(h, r.fills[:, 0]) for h, r in enumerate(requests)]
        if closing:
            self.flush()
            return [
                IntervalReply(t, reading, report=self.closing_report(h))
                for h, reading in enumerate(readings)
            ]
        orders = self._decide(t)
        self._replies = [
            IntervalReply(t, reading, order)
            for reading, order in zip(readings, orders, strict=True)
        ]
        if (t + 1) % self._flush_every == 0:
            self.flush()
        return self._replies

    def _again(self, requests: Sequence[IntervalRequest]) -> list[IntervalReply]:
        """The orders once given, and the readings asked for, which are facts."""
        kept = [reply.orders for reply in self._replies]
        if not kept:
            stored = [state.orders(self.decided) for state in self.states]
            kept = [orders for orders in stored if orders is not None]
        if len(kept) != len(self.states):
            raise MessageError(f"the orders of interval {self.decided} are not kept")
        return [
            IntervalReply(request.t, self._metered(h, request.fills[:, 0]), orders)
            for h, (request, orders) in enumerate(zip(requests, kept, strict=True))
        ]

    def _learn_prices(self, request: IntervalRequest) -> None:
        self._share = None if request.share < 0 else request.share / MILLI_WH_PER_KWH
        self._scarcity = request.scarcity / MICRO
        self._retail[request.t : request.t + len(request.retail)] = request.retail[
            : len(self._retail) - request.t
        ]
        end = min(request.signals_from + len(request.signals), self.intervals)
        if request.signals_from < end:
            count = end - request.signals_from
            self.signals[request.signals_from : end] = request.signals[:count]
            past = request.past_retail[:count]
            self._retail[request.signals_from : request.signals_from + len(past)] = past

    def _settle_until(self, last: int, requests: Sequence[IntervalRequest]) -> None:
        for s in range(self.settled + 1, last + 1):
            if s > self.decided:
                # A round this household missed: it plans for itself, with nothing traded.
                self._decide(s, market=False)
            fills = np.zeros((len(requests), 4), dtype=np.int64)
            allowed = np.broadcast_to(_NO_CAP, (len(requests), 2)).copy()
            for h, request in enumerate(requests):
                for rows, into in ((request.fills, fills), (request.allowances, allowed)):
                    found = rows[rows[:, 0] == s]
                    if len(found):
                        into[h] = found[0, 1:]
                if self._durable:
                    self._check_told(h, s, fills[h], allowed[h])
            self._settle(s, fills, allowed)

    def _check_told(self, h: int, s: int, fills: Ints, allowed: Ints) -> None:
        """What was announced while interval ``s`` ran is what is settled now."""
        for what, told, now in (
            ("fills", self.states[h].announced(s), fills),
            ("allowance", self.states[h].allowed(s), allowed),
        ):
            if told is not None and told != tuple(now.tolist()):
                raise MessageError(f"{what} of interval {s} are not those announced")

    def _settle(self, t: int, fills: Ints, allowed: Ints) -> None:
        """Run the battery on what was really used and made during t; the grid takes the rest.

        ``allowed`` (H, 2) under a cap: mWh from the grid, what more of it may cost [1e-6 per kWh].
        """
        log, row = self.log, self.origin + t
        load, pv = self.load[:, row], self.pv[:, row]
        bought, sold = fills[:, 0] / MILLI_WH_PER_KWH, fills[:, 1] / MILLI_WH_PER_KWH
        retail = float(self._retail[t])
        before = self._before(t)
        action = self._dispatch(before["soc"], load - pv, bought, sold, retail, allowed)
        moved = step(self.battery, before["soc"], action)
        flow = flows(load, pv, moved.charge_kwh, moved.discharge_kwh, bought, sold, self.connection)
        health, cycles = age(self.battery, before["soh"], before["cycles"], before["soc"], moved)
        cost = grid_cost(flow.grid_import, flow.grid_export, retail, self._feed_in)
        log["load"][:, t], log["pv"][:, t] = load, pv
        log["charge"][:, t], log["discharge"][:, t] = moved.charge_kwh, moved.discharge_kwh
        log["bought"][:, t], log["sold"][:, t] = bought, sold
        for name, value in flow._asdict().items():
            log[name][:, t] = value
        log["soc"][:, t], log["soh"][:, t], log["cycles"][:, t] = moved.soc, health, cycles
        log["retail"][:, t] = retail
        log["local_buy"][:, t], log["local_sell"][:, t] = self.signals[t]
        log["cost"][:, t] = cost + (fills[:, 2] - fills[:, 3]) / MICRO
        if self._shadowed:
            self._settle_shadow(t, before["shadow_soc"], load, pv, retail)
        self._sense(t)
        self.settled = t

    def _dispatch(
        self, soc: Floats, net: Floats, bought: Floats, sold: Floats, retail: float, allowed: Ints
    ) -> Floats:
        """The batteries' actions (H,), each within its household's allowance."""
        common = (self._feed_in, self.battery, self.connection)
        if (allowed[:, 0] < 0).all():
            return self.trader.dispatch(self._plan, soc, net, bought, sold, retail, *common)
        action = np.empty(len(soc))
        # All have heard the same price, except who was away when it was told.
        for scarcity in np.unique(allowed[:, 1]).tolist():
            pick = allowed[:, 1] == scarcity
            kwh = allowed[pick, 0] / MILLI_WH_PER_KWH
            action[pick] = self.trader.dispatch(
                self._plan[pick], soc[pick], net[pick], bought[pick], sold[pick], retail, *common,
                allowance=np.where(kwh < 0, np.inf, kwh), scarcity_price=scarcity / MICRO,
            )  # fmt: skip
        return action

    def _settle_shadow(self, t: int, soc: Floats, load: Floats, pv: Floats, retail: float) -> None:
        """The same household without a market: what trading is compared with."""
        none = np.zeros(len(self.names))
        action = self.trader.dispatch(
            self._shadow_plan, soc, load - pv, none, none, retail, self._feed_in,
            self.battery, self.connection,
        )  # fmt: skip
        moved = step(self.battery, soc, action)
        flow = flows(load, pv, moved.charge_kwh, moved.discharge_kwh, none, none, self.connection)
        self.log["shadow_soc"][:, t] = moved.soc
        self.log["shadow_cost"][:, t] = grid_cost(
            flow.grid_import, flow.grid_export, retail, self._feed_in
        )

    def _before(self, t: int) -> dict[str, Floats]:
        """Battery state at the start of interval ``t``."""
        if t > 0:
            return {n: self.log[n][:, t - 1] for n in ("soc", "soh", "cycles", "shadow_soc")}
        start = np.full(len(self.names), self.battery.soc_initial, dtype=np.float64)
        return {
            "soc": start,
            "soh": np.ones_like(start),
            "cycles": np.zeros_like(start),
            "shadow_soc": start.copy(),
        }

    def _sense(self, t: int) -> None:
        """Write the battery's sensors of t into the histories that the model learns from."""
        if not self._readings.has_histories:
            return
        log = self.log
        charge = log["charge"][:, t] - log["discharge"][:, t]
        sensors = np.stack([log["soc"][:, t], log["soh"][:, t], charge, log["cycles"][:, t]], 1)
        back = len(self._index) - (self.origin + t)
        for history, values in zip(self._readings.histories, sensors, strict=True):
            history.values[len(history) - back, _SENSORS] = values

    def _metered(self, h: int, intervals: Ints) -> Ints:
        """(K, 3) rows (interval, import, export) [mWh] of the meter at the connection."""
        log = {n: self.log[n][h] for n in ("grid_import", "grid_export", "bought", "sold")}
        known = intervals[(intervals >= 0) & (intervals <= self.settled)]
        net = (
            log["grid_import"][known] + log["bought"][known]
            - log["grid_export"][known] - log["sold"][known]
        )  # fmt: skip
        milli = np.rint(net * MILLI_WH_PER_KWH).astype(np.int64)
        return np.stack([known, np.maximum(milli, 0), np.maximum(-milli, 0)], axis=1)

    # ---- deciding -----------------------------------------------------------------------------

    def _decide(self, t: int, market: bool = True) -> list[Ints]:
        """Decide interval t for every household; returns each one's orders (M, 3)."""
        orders: list[Ints] = [np.zeros((0, 3), dtype=np.int64)] * len(self.names)
        for clock, sun in zip(self._readings.clocks, self._sun, strict=True):
            ahead = self._forecast(t, clock, int(clock.lag[t]))
            informed = clock.index if ahead is None else ahead.households
            others = np.setdiff1d(clock.index, informed)
            # Those without a model, while others have one, decide as they would alone.
            for which, known in ((informed, ahead), (others, None)):
                if len(which):
                    decision = self._consider(t, clock, which, sun, known, market)
                    for h, order in zip(which, _orders(decision), strict=True):
                        orders[h] = order
        self.decided = t
        return orders

    def _consider(
        self,
        t: int,
        clock: Clock,
        which: Ints,
        sun: Floats | None,
        ahead: DayAhead | None,
        market: bool,
    ) -> Decision:
        pick = slice(None) if len(which) == len(self.names) else which
        lag = int(clock.lag[t])
        newest = self.origin + t - lag
        oldest = max(0, newest - self.trader.history)
        ends, end = self.join.ends, None
        if ends:
            stored = float(self.battery.soc_initial) * float(self.battery.capacity_kwh)
            end = EndValue(stored, self.join.shortfall_price, self.join.surplus_price)
        published = self._retail[t:]
        unknown = np.flatnonzero(np.isnan(published))
        if len(unknown):
            published = published[: unknown[0]]
        before = self._before(t)
        situation = Situation(
            t=t,
            slot=int(clock.slot[t]),
            weekday=int(clock.weekday[t]),
            past_load=self.load[pick, oldest:newest],
            past_pv=self.pv[pick, oldest:newest],
            retail=published,
            feed_in=self._feed_in,
            soc=before["soc"][pick],
            battery=self.battery,
            connection=self.connection,
            rules=self.rules,
            lag=lag,
            market=market,
            past_local=self.signals[:t],
            forecast=None
            if ahead is None
            else TraderForecast(ahead.consumption, ahead.price, ahead.quantiles, ahead.levels, lag),
            remaining=self.intervals - t if ends else None,
            end=end,
            health=before["soh"][pick],
            past_clear_sky=None if sun is None else sun[oldest:newest],
            clear_sky=None if sun is None else sun[self.origin + t :],
            grid_share_kwh=None if self._share is None else np.full(len(which), self._share),
            scarcity_price=self._scarcity,
        )
        decision = self.trader.decide(situation)
        self._plan[pick] = decision.plan
        log = self.log
        self._tell(t, which, decision.reason)
        for name in ("score", "need", "action", "reason"):
            log[name][pick, t] = getattr(decision, name)
        log["retail"][pick, t] = published[0] if len(published) else np.nan
        if ahead is not None:
            log["forecast_load"][pick, t] = ahead.consumption[:, 0]
        if self._shadowed:
            soc = before["shadow_soc"][pick]
            alone = replace(
                situation, market=False, past_local=None, soc=soc,
                grid_share_kwh=None, scarcity_price=0.0,
            )  # fmt: skip
            self._shadow_plan[pick] = self.trader.decide(alone).plan
        return decision

    def _tell(self, t: int, households: Ints, reasons: NDArray[np.int8]) -> None:
        """Say why a household's trader holds: once, when the reason comes up."""
        for h in households[reasons != self._held[households]]:
            reason = int(reasons[np.flatnonzero(households == h)[0]])
            self._held[h] = reason
            if reason:
                _log.warning("%s: trader holds from %d on: %s", self.names[h], t, REASONS[reason])

    def _forecast(self, t: int, clock: Clock, lag: int) -> DayAhead | None:
        midnight = clock.slot[t] == 0
        if not (midnight or self.trader.uses_forecast):
            return None
        ahead = self.forecast(clock.index, len(self._index) - (self.origin + t - lag), lag)
        if ahead is not None and midnight:
            for h, consumption, price in zip(
                ahead.households, ahead.consumption, ahead.price, strict=True
            ):
                self.midnight[h][t] = (consumption.copy(), price.copy())
        return ahead if self.trader.uses_forecast else None

    def unknown(self, h: int) -> int:
        """Rows at the end of household ``h``'s history that the next decision may not read."""
        t = min(self.decided + 1, self.intervals - 1)
        clock = next(c for c in self._readings.clocks if h in c.index)
        # What has not been settled is not known either, whatever the source says.
        newest = min(t - int(clock.lag[t]), self.settled + 1)
        return self.intervals - newest

    # ---- keeping ------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what has happened since the last time to the households' own files."""
        span = range(self._written + 1, self.decided + 1)
        columns = [self.log[name] for name in QUANTITIES]
        keep = self.decided - self._keep_plans
        for h, state in enumerate(self.states):
            values = np.stack([column[h, span.start : span.stop] for column in columns], 1)
            rows = [
                (t, self._times[t], int(t <= self.settled), *row)
                for t, row in zip(span, values.tolist(), strict=True)
            ]
            forecasts = [
                (t, stream, ahead)
                for t, pair in self.midnight[h].items()
                if t in span
                for stream, ahead in zip(("consumption_day", "price_day"), pair, strict=True)
            ]
            plan = (self.decided, self._plan[h], self._shadow_plan[h])
            orders = self._replies[h].orders if self._replies else None
            state.put(rows, forecasts, plan, keep, orders)
        self._written, self._saved = self.settled, self.decided

    @property
    def saved(self) -> bool:
        """Whether the files tell all that the households know."""
        return self._saved == self.decided and self._written == self.settled

    def close(self) -> None:
        """Close the files."""
        for state in self.states:
            state.close()

    def refresh(self) -> bool:
        """Catch up with what another process has done for the same households, from their files.

        Returns whether there was anything. For engines that move a household between processes.
        """
        newest = self.states[0].newest()
        if newest <= self.decided:
            return False
        before = self.settled
        for h, state in enumerate(self.states):
            self._read_back(h, state.rows(before + 1))
        self.decided, self.settled = newest, newest - 1
        span = slice(before + 1, newest + 1)
        self._retail[span] = self.log["retail"][0, span]
        for t in range(before + 1, self.settled + 1):
            self._sense(t)
            self.signals[t] = self.log["local_buy"][0, t], self.log["local_sell"][0, t]
        self._written, self._saved = self.settled, self.decided
        self._replies = []
        return True

    def _read_back(self, h: int, rows: Sequence[Sequence[object]]) -> None:
        """Take over these interval rows, the midnight forecasts and the newest plan."""
        for row in rows:
            self._unpack(h, row)
        streams = {(t, stream): values for t, stream, values in self.states[h].forecasts()}
        for (t, stream), values in streams.items():
            if stream == "consumption_day":
                self.midnight[h][t] = (values, streams[t, "price_day"])
        if rows:
            newest = rows[-1][0]
            assert isinstance(newest, int)
            plan = self.states[h].plan(newest)
            if plan is None:
                raise InputError(f"household {self.names[h]}: plan of interval {newest} is lost")
            self._plan[h], self._shadow_plan[h] = plan

    def _unpack(self, h: int, row: Sequence[object]) -> None:
        t = row[0]
        assert isinstance(t, int)
        for name, value in zip(QUANTITIES, row[3:], strict=True):
            self.log[name][h, t] = value if isinstance(value, float) else np.nan


def _orders(decision: Decision) -> list[Ints]:
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
