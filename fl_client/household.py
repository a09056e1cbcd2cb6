"""Households that step together: settle the interval that is over, then decide the next one.

Array-first: H households step as one, and one household is H = 1; what a household does is the
same to the last bit either way. A group is composed of what its members have measured
(``readings``), the prices they have been told (``prices``), what their devices do (``physics``),
what their traders decide (``deciding``), and the log of it all, in memory and in files (``log``).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR
from common.config import Settings
from common.data.frame import COLUMNS
from common.data.regrid import regrid
from common.energy.battery import BatterySpec
from common.energy.connection import ConnectionSpec
from common.energy.pv import clear_sky
from common.energy.tariff import EndValue
from common.errors import InputError
from common.forecast.history import History
from common.market_rules import MarketRules
from common.messages import IntervalReply, IntervalRequest, Join, MessageError
from fl_client.deciding import Deciding
from fl_client.log import Log
from fl_client.physics import NO_CAP, Physics
from fl_client.prices import PublicPrices
from fl_client.readings import Calendar, Member, RunReadings
from fl_client.steered import SteeredBatteries
from fl_client.tokens import Tokens
from fl_client.trader.scene import Scene
from fl_client.traders import Traders
from fl_client.window import Window

# How far back a meter may correct itself: five weeks, a month's bill and some.
_REVISED_DAYS = 35
_SENSORS = slice(COLUMNS.index("battery_soc"), COLUMNS.index("battery_cycles") + 1)


class Group:
    """H households of one run that step together.

    The households' files are written every ``flush_every`` intervals, and at the end. They have
    been in from interval ``since`` of the run on. Of a run without end the group holds a window,
    with interval ``reach`` in it; everything but requests and replies is numbered from its first
    interval. Raises InputError where a household's readings do not cover the run.
    """

    def __init__(
        self,
        members: Sequence[Member],
        settings: Settings,
        join: Join,
        *,
        flush_every: int = 1,
        since: int = 0,
        reach: int = 0,
    ) -> None:
        self.window = Window.of(join, settings.cadence, since, reach)
        self.join = join = self.window.join
        self.intervals = join.intervals
        # What household h tells of itself at the end; nothing, unless somebody sets it.
        self.closing_report: Callable[[int], Mapping[str, float]] = lambda h: {}
        self.month_report: Callable[[int, tuple[int, int]], Mapping[str, float]] = lambda h, m: {}
        self._flush_every = flush_every
        self.cadence = settings.cadence
        self.tokens = Tokens(self.cadence, join.intervals)
        days = settings.run.history_days
        self.origin = days * self.cadence.per_day  # the row that interval 0 has
        self._index = pd.date_range(
            pd.Timestamp(join.start) - pd.Timedelta(days=days),
            periods=self.origin + join.intervals,
            freq=self.cadence.step,
        )
        self._readings = RunReadings(
            members,
            self._index,
            self.origin,
            self.tokens,
            begins=self.origin + self.window.begins,
            endless=self.window.endless,
        )
        self.load, self.pv = self._readings.load, self._readings.pv
        self.about = self._readings.about
        self.names = [one.name for one in self.about]
        self.homes = [
            settings.home(name) if member.home is None else member.home
            for name, member in zip(self.names, members, strict=True)
        ]
        self._live = [member.arrivals is not None for member in members]
        traders = Traders([home.trader for home in self.homes])
        self.prices = PublicPrices(len(members), join.intervals, settings.published)
        self.log = Log(
            members,
            self.names,
            self.window,
            [time.isoformat() for time in self._index[self.origin :]],
            plan_width=traders.plan_width,
            keep_plans=2 * settings.checkpoint_every,
        )
        self._steered = SteeredBatteries(
            members, self.homes, self._readings, self.prices, self.window, self._index, self.origin
        )
        self.physics = Physics(
            BatterySpec.together([home.battery_spec for home in self.homes]),
            ConnectionSpec.together([home.connection_spec for home in self.homes]),
            traders,
            log=self.log,
            prices=self.prices,
            load=self.load,
            pv=self.pv,
            origin=self.origin,
            shadowed=settings.run.shadow,
            steered=self._steered,
            hours=self.cadence.hours,
        )
        self.deciding = Deciding(
            [
                (some, self._scene(some, settings, trader.uses_sun), trader)
                for calendar in self._readings.calendars
                for trader, which in traders.groups
                if len((some := calendar.among(which)).index)
            ],
            log=self.log,
            prices=self.prices,
            physics=self.physics,
            names=self.names,
            tokens=self.tokens,
        )
        self.deciding.hand_over = self._steered.hand_over
        self.prices.recall(0, *self.log.prices(0))

    def _scene(self, calendar: Calendar, settings: Settings, sunny: bool) -> Scene:
        """What the households of one calendar may see of themselves."""
        sun = sunny and bool((self.pv[calendar.index] > 0).any())
        market = settings.market
        return Scene(
            load=self.load,
            pv=self.pv,
            origin=self.origin,
            slot=calendar.slot,
            weekday=calendar.weekday,
            days=calendar.days,
            lag=calendar.lag,
            clear_sky=clear_sky(self._index, calendar.timezone, self.cadence.minutes)
            if sun
            else None,
            battery=self.physics.battery,
            connection=self.physics.connection,
            rules=MarketRules(
                market.loss,
                market.min_margin,
                market.max_steps,
                local_fee=settings.tariff.local_fee,
            ),
            ends=self.join.ends,
            hours=self.cadence.hours,
        )

    def end_value(self, h: int) -> EndValue:
        """What is left in household ``h``'s battery at the end of the run is worth."""
        return self.deciding.end_value(h)

    def worth(self, h: int, first: int, end: int) -> EndValue:
        """What a change of household ``h``'s store from ``first`` until ``end`` is worth."""
        return self.deciding.worth(h, first, end)

    @property
    def histories(self) -> list[History]:
        """All columns of every household in half hours, with the battery's sensors up to the last
        settlement."""
        made = self._readings.has_histories
        histories = self._readings.histories
        if not made:
            for history, home, live in zip(histories, self.homes, self._live, strict=True):
                # Prices of the data are the energy's; live ones are those told.
                if home.tariff.source == "data" and not live:
                    history.charge(home.tariff.charges.all_in)
            for t in range(self.log.begins, self.log.settled + 1):
                self._sense(t)
        return histories

    def charged_history(self, h: int) -> History:
        """A copy of household ``h``'s history whose prices are those that it was told.

        Before the run they are the readings' own where these are what a run goes by; else nobody
        has told them, and the first day that was told stands for them.
        """
        history, count = self.histories[h], self.tokens.count
        told = regrid(
            self.prices.retail[h, : self.intervals],
            self.cadence.minutes, HALF_HOUR.minutes, 0, "level",
        )[:count]  # fmt: skip
        at, price = np.flatnonzero(np.isfinite(told)), COLUMNS.index("price")
        values, begins = history.values.copy(), len(history) - count
        values[begins + at, price] = told[at]
        if len(at) and (self._live[h] or self.homes[h].tariff.source != "data"):
            first = told[at[: HALF_HOUR.per_day]]
            before = np.arange(begins + at[0])
            values[before, price] = first[(before - begins - at[0]) % len(first)]
        return History(values, history.index, history.timezone, history.lags)

    def unknown(self, h: int) -> int:
        """Rows at the end of household ``h``'s history that the next decision may not read."""
        return self.deciding.unknown(h)

    def advance(self, requests: Sequence[IntervalRequest]) -> list[IntervalReply]:
        """Settle what is over and answer with readings and orders, one reply per household.

        All requests are for one interval t. A request that is repeated gets the same reply again.
        Raises MessageError for a request of another run or of an interval long past.
        """
        replies = self._advance([self.window.shown(request) for request in requests])
        return [self.window.told(reply) for reply in replies]

    def _advance(self, requests: Sequence[IntervalRequest]) -> list[IntervalReply]:
        t, closing = requests[0].t, requests[0].closing
        decided, base = self.log.decided, self.window.base
        if any(r.t != t or r.run != self.join.run for r in requests):
            raise MessageError("requests of different intervals or another run")
        if t == decided and not closing:
            orders = self.log.orders_given()
            if orders is None:
                raise MessageError(f"the orders of interval {base + t} are not kept")
            self._arrive(t)
            return self._replies(requests, orders)
        if t <= decided and not (closing and t == decided + 1):
            raise MessageError(f"interval {base + t} is over: {base + decided} has been decided")
        # Who leaves, or is in a run without end, may be asked for the last after any interval.
        if t > self.intervals or (t == self.intervals and not closing):
            raise MessageError(f"interval {base + t} is outside the run of {self.intervals}")
        self.prices.learn(requests)
        self._arrive(t)
        self._settle_until(self._last(requests), requests)
        if closing:
            self.log.flush()
            return [
                IntervalReply(
                    t,
                    self._reading(h, request),
                    report={**self.closing_report(h), **self._of_month(h, request)},
                )
                for h, request in enumerate(requests)
            ]
        self.deciding.decide(t)
        if (base + t + 1) % self._flush_every == 0:
            self.log.flush()
        self._steered.write()
        return self._replies(requests, self.log.orders)

    def refresh(self) -> bool:
        """Catch up with what another process has done for the same households, from their files.

        Returns whether there was anything.
        """
        first = self.log.refresh()
        if first is None:
            return False
        self.prices.recall(first, *self.log.prices(first))
        for t in range(first, self.log.settled + 1):
            self._sense(t)
        return True

    def _replies(
        self, requests: Sequence[IntervalRequest], orders: Sequence[Ints]
    ) -> list[IntervalReply]:
        return [
            IntervalReply(request.t, self._reading(h, request), order, self._of_month(h, request))
            for h, (request, order) in enumerate(zip(requests, orders, strict=True))
        ]

    def _of_month(self, h: int, request: IntervalRequest) -> Mapping[str, float]:
        return {} if request.month is None else self.month_report(h, request.month)

    def _reading(self, h: int, request: IntervalRequest) -> Ints:
        """The meter's readings of the intervals whose fills the request tells.

        From meters whose readings arrive: those that are there, and what was told otherwise before.
        """
        asked = request.fills[:, 0]
        metered = self._readings.metered(h, asked)
        if metered is None:
            return self.physics.metered(h, asked)
        state, first = self.log.states[h], max(request.t - _REVISED_DAYS * self.cadence.per_day, 0)
        told = state.told(first)
        # What it was not asked for has been told before, or was estimated without it.
        ours = np.arange(max(first, self.log.begins), self._last([request]))
        others = np.setdiff1d(ours, asked)
        now = self._readings.metered(h, others)
        assert now is not None
        # ``signals_from`` is the newest interval whose answer has arrived.
        revised = [
            row
            for row in now.tolist()
            if tuple(row[1:]) != told.get(row[0], ())[:2] or told[row[0]][2] > request.signals_from
        ]
        rows = np.array(sorted([*revised, *metered.tolist()]), dtype=np.int64).reshape(-1, 3)
        state.tell(rows, request.t)
        return rows

    def _last(self, requests: Sequence[IntervalRequest]) -> int:
        """The newest interval that is over for these households: who leaves has had its last."""
        last = requests[0].t - 1
        if not requests[0].closing:
            return last
        asked = [int(request.fills[:, 0].max(initial=-1)) for request in requests]
        return min(last, max(self.log.decided, *asked))

    def _arrive(self, t: int) -> None:
        """Take over what meters have told by now. Histories grow with it."""
        self._readings.arrive(self.log.decided + 1, min(t, self.intervals - 1))
        for h in np.flatnonzero(self._live).tolist():
            self.log.heard_s[h] = self._readings.received_s(h)
        if self._readings.has_histories:
            self._readings.grow()

    def _settle_until(self, last: int, requests: Sequence[IntervalRequest]) -> None:
        """Settle what is over and known, in order of time."""
        for s in range(self.log.settled + 1, last + 1):
            if s > self.log.decided:
                # A round this household missed: it plans for itself, with nothing traded.
                self.deciding.decide(s, market=False)
            if s != self.log.settled + 1 or (self._readings.known <= self.origin + s).any():
                continue
            if self.origin + s >= self._readings.ends:
                when = self._index[self.origin + s]
                raise InputError(f"household {self.names[0]}: its readings end before {when}")
            fills = np.zeros((len(requests), 4), dtype=np.int64)
            allowed = np.broadcast_to(NO_CAP, (len(requests), 2)).copy()
            undelivered = np.full((len(requests), 2), np.nan)
            for h, request in enumerate(requests):
                for rows, into in ((request.fills, fills), (request.allowances, allowed)):
                    found = rows[rows[:, 0] == s]
                    if len(found):
                        into[h] = found[0, 1:]
                undelivered[h] = _of_interval(request, s)
                if self.log.durable and s in request.fills[:, 0]:
                    self._check_told(h, s, fills[h], allowed[h])
                elif self.log.durable:
                    # The coordinator has settled it by an estimate; its fills were announced.
                    self._recall_told(h, s, fills, allowed)
            self.physics.settle(s, fills, allowed, undelivered)
            self._sense(s)

    def _check_told(self, h: int, s: int, fills: Ints, allowed: Ints) -> None:
        """What was announced while interval ``s`` ran is what is settled now."""
        state = self.log.states[h]
        for what, told, now in (
            ("fills", state.announced(s), fills),
            ("allowance", state.allowed(s), allowed),
        ):
            if told is not None and told != tuple(now.tolist()):
                raise MessageError(
                    f"{what} of interval {self.window.base + s} are not those announced"
                )

    def _recall_told(self, h: int, s: int, fills: Ints, allowed: Ints) -> None:
        state = self.log.states[h]
        for told, into in ((state.announced(s), fills), (state.allowed(s), allowed)):
            if told is not None:
                into[h] = told

    def measured(self, h: int) -> tuple[Floats, Floats]:
        """Load and PV [kWh] of household ``h``, row by row of its history."""
        return self._readings.measured(h)

    def _sense(self, t: int) -> None:
        """Write the battery's sensors of t into the histories that the model learns from."""
        if not self._readings.has_histories:
            return
        over = range(self.tokens.at(t), self.tokens.over(t + 1))
        if not over:
            return  # its half hour goes on
        sensors = self.log.sensors(self.tokens.first(over.start), t, len(over))
        back = self.tokens.count - over.start
        for history, values in zip(self._readings.histories, sensors, strict=True):
            row = len(history) - back
            history.values[row : row + len(over), _SENSORS] = values


def _of_interval(request: IntervalRequest, s: int) -> Floats:
    """(2,) prices of what was traded in ``s`` and not delivered or used; nan without fills."""
    found = request.undelivered[request.fills[: len(request.undelivered), 0] == s]
    return found[0] if len(found) else np.full(2, np.nan)
