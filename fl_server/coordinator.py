"""The market round of one interval: price signal, orders, clearing, settlement of the one before.

One message each way per household and interval: the request carries the fills of the interval
before, the reply its meter reading and the orders of this one.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd
from flwr.app import ConfigRecord, RecordDict

from common.arrays import Floats, Ints
from common.config import Home, Settings
from common.energy.connection import ConnectionSpec
from common.market_rules import (
    MAX_PRICE_MICRO,
    MICRO,
    MILLI_WH_PER_KWH,
    SCARCITY,
    MarketRules,
    Orders,
    admit,
    to_micro,
)
from common.messages import (
    INTERVAL,
    IntervalReply,
    IntervalRequest,
    MessageError,
    NotJoined,
    read_reply,
)
from common.rng import generator
from fl_server.books import Books
from fl_server.checkpoint import Checkpoint, Fill
from fl_server.mailbox import Mailbox
from fl_server.market import Clearing, Fills, Grid, OrderBook, clear
from fl_server.market.allowances import Capped, clear_under_cap
from fl_server.market.compensation import compensate, most_carried, told_gains
from fl_server.month_compensation import MonthCompensation
from fl_server.prices import Prices, bounds_micro, micro
from fl_server.settlement import Settlement, Surcharge, settle, surcharge

NO_FILL = (0, 0, 0, 0)
REVISED_DAYS = 35
"""So far back a meter may correct itself."""
TOLD_DAYS = 60
"""Who was away, or is new, is told the prices of so many days before."""
NO_READING = np.zeros((0, 3), dtype=np.int64)


@dataclass
class Answers:
    """What the households said in one round, by their index; ``faults`` of those who did not.

    ``not_joined``: who said that it has to join first.
    """

    orders: dict[int, Ints] = field(default_factory=dict)
    readings: dict[int, Ints] = field(default_factory=dict)
    reports: dict[int, Mapping[str, float]] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    not_joined: set[int] = field(default_factory=set)


class Coordinator:
    """Runs the market round of one interval after the other, and closes the run.

    ``run``: the name households know it by; interval 0 begins at ``start``. ``home``: what belongs
    to a household of this name. ``mailbox`` reaches
    the households, ``books`` keep what was decided, ``state`` says where the run stands.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        run: str,
        start: pd.Timestamp,
        prices: Prices,
        home: Callable[[str], Home],
        mailbox: Mailbox,
        books: Books,
        state: Checkpoint,
    ) -> None:
        self.mailbox, self.state = mailbox, state
        self._settings, self._run, self._start, self._prices = settings, run, start, prices
        self._home = home
        self._limits: list[ConnectionSpec] = []
        self._roster, self._books = mailbox.roster, books
        market = settings.market
        self._rules = MarketRules(
            market.loss,
            market.min_margin,
            market.max_steps,
            market.k,
            market.feeder_loss,
            market.feeder_fee,
            settings.tariff.local_fee,
        )
        self._local_fee = settings.tariff.local_parts
        self._cadence = settings.cadence
        # mWh in an interval from a limit in kW.
        kw_milliwh = self._cadence.hours * MILLI_WH_PER_KWH
        kw, export_kw = market.import_cap_kw, market.export_cap_kw
        self._cap = None if kw is None else round(kw * kw_milliwh)
        self._allowed = None if kw is None else round(kw * (1 - market.cap_reserve) * kw_milliwh)
        self._export_cap = None if export_kw is None else round(export_kw * kw_milliwh)
        self._wait = self._cadence.of_hours(settings.settlement.wait_hours)
        self._revised = REVISED_DAYS * self._cadence.per_day
        self._told = TOLD_DAYS * self._cadence.per_day
        self._refused: dict[int, tuple[str, ...]] = {}
        # Of a run without end whose members compensate each other.
        self.months: MonthCompensation | None = None

    def interval(self, t: int) -> Answers:
        """Settle interval t - 1, clear interval t with what the households say, and book both."""
        begin = time.perf_counter()
        answers = self.ask(t)
        self._conclude(t, answers, begin)
        return answers

    def skip(self, t: int, why: str) -> Answers:
        """Book an interval that has passed without a market: everyone settles it by itself."""
        answers = Answers(faults=dict.fromkeys(self._roster.present, why))
        self._books.note(t, self._roster.names, answers.faults)
        self._conclude(t, answers, time.perf_counter())
        return answers

    def close(self, answers: Answers, t: int) -> None:
        """Settle the last interval, ``t`` - 1, with what was said when the run was over.

        Nobody will be asked again: what has not been told by now is estimated.
        """
        settled = self._settle(t - 1, answers.readings)
        if settled is not None:
            self._estimate(t)
            self.state.release(t - 1)
            compensation: tuple[int, Ints] | None
            if self.months is None:
                compensation = self._compensation(t, settled, answers.reports)
            else:
                compensation = self.months.settle(
                    t, answers.reports, settled, (), self._carried, closing=True
                )
            self._books.book(t, None, settled, cap=self._cap, compensation=compensation)

    # ---- the market round ---------------------------------------------------------------------

    def _conclude(self, t: int, answers: Answers, begin: float) -> None:
        """Settle interval t - 1, clear interval t, and book both."""
        self._prices.seat(self._roster.names)
        settled = self._settle(t - 1, answers.readings)
        self.state.seat(t, self._roster.present)
        clear_begin = time.perf_counter()
        clearing, refused, capped = self._clear(t, answers.orders)
        clear_ms = (time.perf_counter() - clear_begin) * 1e3
        fills = clearing.fills(len(self._roster.names))
        compensation = None
        if self.months is not None:
            compensation = self.months.settle(
                t, answers.reports, settled, self._roster.present, self._carried
            )
        self._remember(t, clearing, fills)
        self.state.lines[t] = {
            "interval": t,
            "time": (self._start + t * self._cadence.step).isoformat(),
            "retail": _mean(self._prices.imported(t)),
            "feed_in": _mean(self._prices.exported(t)),
            "local_price": None if clearing.price is None else clearing.price / MICRO,
            "marginal_buy": self.state.signal(t)[0],
            "marginal_sell": self.state.signal(t)[1],
            "sent_kwh": clearing.sent_milliwh / MILLI_WH_PER_KWH,
            "delivered_kwh": clearing.delivered_milliwh / MILLI_WH_PER_KWH,
            "orders": sum(len(orders) for orders in answers.orders.values()),
            "refused": refused,
            "missing": sorted(self._roster.names[h] for h in answers.faults),
            "clear_ms": clear_ms,
            "interval_ms": (time.perf_counter() - begin) * 1e3,
        }
        if capped is not None:
            self.state.lines[t] |= {
                "allowance_price": capped.price / MICRO,
                "scarcity_price": self.state.scarcity[t] / MICRO,
            }
        self._books.book(
            t,
            fills,
            settled,
            cap=self._cap,
            compensation=compensation,
            standing=self._standing(t),
            prices=self._prices.lists(t, self._local_fee),
        )

    def _standing(self, t: int) -> Ints | None:
        """What the members that are in pay for the local day that begins with interval t (H,)."""
        days = [
            (self._start + s * self._cadence.step).tz_convert(self._prices.zone) for s in (t - 1, t)
        ]
        if days[0].date() == days[1].date():
            return None
        charges = self._prices.standing()
        gone = np.setdiff1d(np.arange(len(charges)), self._roster.present)
        charges[gone] = 0
        return charges

    def _requests(
        self, t: int, closing: bool, who: Iterable[int]
    ) -> Iterable[tuple[int, RecordDict]]:
        published = self._settings.published
        state, prices = self.state, self._prices
        prices.seat(self._roster.names)
        ahead = slice(t, t + published)
        terms = self._terms(min(t, self._settings.intervals - 1))
        public: dict[tuple[int, int], ConfigRecord] = {}  # by tariff
        undelivered: dict[int, tuple[float, ...]] = {}  # by interval
        months = self.months
        month = None if months is None else months.asked(t, closing=closing)
        share = -1 if self._allowed is None else self._allowed // len(self._roster.names)
        scarcity = 0 if self._allowed is None else self._scarcity(t)
        for h in who:
            since = max(state.heard[h] + 1, state.first_signal)
            unread = state.unread(h, t)
            for s in unread:
                if s not in undelivered:
                    undelivered[s] = self._terms(s)[2:]
            fills = [(s, *state.fills[s].get(h, NO_FILL)) for s in unread]
            # Intervals before a cap was set have none.
            allowed = [
                (s, state.allowances[s][h], state.scarcity[s])
                for s in unread
                if s in state.allowances
            ]
            tariff = prices.tariff(h)
            request = IntervalRequest(
                run=self._run,
                t=t,
                retail=prices.retail[tariff[0], ahead],
                feed_in=prices.feed_in[tariff[1], ahead],
                terms=terms,
                fills=np.array(fills, dtype=np.int64).reshape(-1, 5),
                signals_from=since,
                signals=state.signals_between(since, t),
                refused=self._refused.get(h, ()),
                closing=closing or h in self._roster.leaving,
                past_retail=prices.retail[tariff[0], since:t],
                past_feed_in=prices.feed_in[tariff[1], since:t],
                undelivered=np.array([undelivered[s] for s in unread]).reshape(-1, 2),
                share=share,
                scarcity=scarcity,
                allowances=np.array(allowed, dtype=np.int64).reshape(-1, 3),
                month=month,
            )
            if tariff not in public:
                public[tariff] = request.public()
            yield h, request.encode(public[tariff])

    def ask(
        self,
        t: int,
        only: Iterable[int] | None = None,
        patience_s: float | None = None,
        *,
        closing: bool = False,
    ) -> Answers:
        """Ask these households, or all of them, and collect what arrives in time.

        ``t`` is the interval that begins; where the run is ``closing`` instead it asks for the last
        settlement.
        """
        asked = self.asked(t) if only is None else list(only)
        answers = Answers(faults=dict.fromkeys(asked, "no reply"))
        requests = self._requests(t, closing, asked)
        for h, message in self.mailbox.ask(INTERVAL, t, requests, patience_s):
            if h not in answers.faults:
                continue
            try:
                reply = read_reply(message, partial(self._read, h, t))
            except MessageError as error:
                answers.faults[h] = str(error)
                if isinstance(error, NotJoined):
                    answers.not_joined.add(h)
                continue
            del answers.faults[h]
            if h not in self._roster.leaving:
                answers.orders[h] = reply.orders
            answers.readings[h] = reply.readings
            answers.reports[h] = reply.report
            self.state.heard[h] = t - 1
        self._books.note(t, self._roster.names, answers.faults)
        return answers

    def asked(self, t: int) -> list[int]:
        """Who is in, and who is leaving and owes a reading."""
        owing = [h for h in self._roster.leaving if self.state.unread(h, t)]
        return sorted([*self._roster.present, *owing])

    def _read(self, h: int, t: int, content: RecordDict) -> IntervalReply:
        """What household h answers for interval t; raises MessageError where it makes no sense."""
        reply = IntervalReply.decode(content)
        if reply.t != t:
            raise MessageError(f"a reply for interval {reply.t}")
        # Each order that is refused goes back with its reason.
        if len(reply.orders) > 10 * self._rules.max_steps:
            raise MessageError(f"{len(reply.orders)} orders")
        readings = reply.readings
        told = readings[:, 0].tolist()
        # A reading may come later than its interval is over, and be corrected later still.
        if told != sorted(set(told)) or not all(max(t - self._revised, 0) <= s < t for s in told):
            raise MessageError("readings of other intervals than asked for")
        if not all(self.state.was_in(h, s) for s in told):
            raise MessageError("readings of intervals that it took no part in")
        carried = self._connections[h].limits(self._cadence.hours)
        # A reading is rounded to a whole mWh. Registers may both have counted within an interval.
        most = np.ceil(np.array(carried) * MILLI_WH_PER_KWH).astype(np.int64)
        if (readings < 0).any() or (readings[:, 1:] > most).any():
            raise MessageError("a meter reading of more than its connection can carry")
        return reply

    def _settle(self, last: int, readings: Mapping[int, Ints]) -> Settlement | None:
        """Settle interval ``last`` for the households that answered, and what they owed before."""
        if last < 0:
            return None
        state, count = self.state, len(self._roster.names)
        # In order of name, not of arrival: whoever is late adds to what is above a cap.
        for h, rows in sorted(readings.items()):
            for s, taken, given in rows.tolist():
                if s < last:
                    self._settle_late(h, s, taken, given)
        self._estimate(last - self._wait)
        meter = np.zeros((2, count), dtype=np.int64)
        fills = Fills.none(count)
        for h in (h for h in range(count) if state.was_in(h, last)):
            newest = readings[h][-1:] if h in readings else NO_READING
            if not len(newest) or newest[0, 0] != last:
                state.open.setdefault(last, set()).add(h)
                continue
            meter[:, h] = newest[0, 1:]
            fill = state.fills[last].get(h, NO_FILL)
            for array, value in zip(
                (fills.bought, fills.sold, fills.paid, fills.received), fill, strict=True
            ):
                array[h] = value
        settlement = self._settled(last, meter, fills)
        state.release(last)
        return settlement

    def _settle_late(self, h: int, s: int, taken: int, given: int) -> None:
        """Settle one household's interval, or settle it anew where it has been before."""
        state, ledger = self.state, self._books.ledger
        if h not in state.open.get(s, ()):
            meter, fills = self._alone(h, ledger.filled(s, h), taken, given)
            retail, feed_in = self._micro(s)
            anew = settle(meter[0], meter[1], fills, retail, feed_in, self._rules.keep_ppm)
            ledger.revise(s, h, anew)
            return
        meter, fills = self._alone(h, state.fills[s].get(h, NO_FILL), taken, given)
        ledger.record_late(s, h, self._settled(s, meter, fills))
        self._close_open(s, h)

    def _alone(self, h: int, fill: Fill, taken: int, given: int) -> tuple[Ints, Fills]:
        """Meters (2, H) and fills of one household among all."""
        count = len(self._roster.names)
        meter = np.zeros((2, count), dtype=np.int64)
        meter[:, h] = taken, given
        fills = Fills.none(count)
        fills.bought[h], fills.sold[h], fills.paid[h], fills.received[h] = fill
        return meter, fills

    def _close_open(self, s: int, h: int) -> None:
        self.state.open[s].discard(h)
        if not self.state.open[s]:
            del self.state.open[s]

    def _estimate(self, end: int) -> None:
        """Settle without a reading what is not settled of the intervals before ``end``.

        By what costs the silent most: as much drawn as at that time of the last seven days, or
        what it bought, if that is more; as much fed in; or nothing at all. So silence never pays.
        """
        for s in sorted(s for s in self.state.open if s < end):
            for h in sorted(self.state.open[s]):
                fill = self.state.fills[s].get(h, NO_FILL)
                day = self._cadence.per_day
                days = [s - back * day for back in range(1, 8) if s >= back * day]
                days = days or list(range(s))  # of its first day: all that it has told
                past = np.array(list(self._books.ledger.metered(h, days).values()), dtype=np.int64)
                drawn, fed = (
                    int(np.maximum(side * past, 0).sum()) // max(len(past), 1) for side in (1, -1)
                )
                retail, feed_in = self._micro(s)
                best: tuple[int, Ints, Fills] | None = None
                for taken, given in ((max(drawn, fill[0]), 0), (0, fed), (0, 0)):
                    meter, fills = self._alone(h, fill, taken, given)
                    one = settle(meter[0], meter[1], fills, retail, feed_in, self._rules.keep_ppm)
                    cost = int(one.cost[h] - one.revenue[h])
                    if best is None or cost > best[0]:
                        best = cost, meter, fills
                assert best is not None
                settled = self._settled(s, *best[1:])
                self._books.ledger.record_late(s, h, settled, estimated=True)
                self._close_open(s, h)

    def _settled(self, s: int, meter: Ints, fills: Fills) -> Settlement:
        """Settle interval s by its meters (2, H), with its surcharge where there is a cap."""
        retail, feed_in = self._micro(s)
        settlement = settle(meter[0], meter[1], fills, retail, feed_in, self._rules.keep_ppm)
        allowances = self.state.allowances.get(s)
        if allowances is None:
            return settlement
        # Who has no allowance here has no reading either.
        allowed = np.zeros(len(self._roster.names), dtype=np.int64)
        allowed[list(allowances)] = list(allowances.values())
        assert self._cap is not None
        before = self.state.drawn.get(s, 0)
        after = before + int(settlement.grid_import.sum())
        self.state.drawn[s] = after
        above = max(after - self._cap, 0) - max(before - self._cap, 0)
        scarcity = self.state.scarcity[s]
        # It comes back to who is in; who has left gets none.
        who = [h for h in range(len(allowed)) if self.state.was_in(h, s) or meter[:, h].any()]
        some = surcharge(settlement.grid_import[who], allowed[who], above, retail, scarcity)
        charge = Surcharge(*(np.zeros_like(allowed) for _ in range(3)))
        for whole, part in zip(vars(charge).values(), vars(some).values(), strict=True):
            whole[who] = part
        return replace(settlement, surcharge=charge)

    @property
    def _connections(self) -> list[ConnectionSpec]:
        """The members' own, by position; those of members who have joined since included."""
        for name in self._roster.names[len(self._limits) :]:
            self._limits.append(self._home(name).connection_spec)
        return self._limits

    @property
    def _carried(self) -> tuple[Floats, Floats]:
        """What connections carry in and out in an interval [kWh], () or (H,) where they differ."""
        return ConnectionSpec.together(self._connections).limits(self._cadence.hours)

    def _scarcity(self, t: int) -> int:
        """What a kWh beyond an allowance costs in interval t [micro]."""
        retail = self._prices.retail[:, t : t + self._settings.published]
        price = self._settings.market.scarcity_price
        if price is None:
            dearest = float(np.nanmax(retail))
            price = SCARCITY * dearest if dearest > 0 else dearest
        most = MAX_PRICE_MICRO
        return min(max(to_micro(price), to_micro(float(retail[:, 0].max()))), most)

    def _micro(self, t: int) -> tuple[Ints, Ints]:
        """Import and export prices (H,) of interval t [micro per kWh]."""
        return micro(self._prices.imported(t)), micro(self._prices.exported(t))

    def _terms(self, t: int) -> tuple[float, float, float, float]:
        """What all members hear of interval t; under a cap scarcity is what an order may name."""
        lowest, highest, *undelivered = self._prices.terms(
            t, self._rules.loss, self._rules.local_fee
        )
        if self._allowed is not None:
            highest = max(highest, self._scarcity(t) / MICRO)
        return lowest, highest, undelivered[0], undelivered[1]

    def _clear(self, t: int, replies: Mapping[int, Ints]) -> tuple[Clearing, int, Capped | None]:
        # Feeders are numbered along the households' positions.
        count = len(self._roster.names)
        feeder = np.arange(count) // (self._settings.market.feeder_size or count)
        orders = _orders(t, replies, feeder)
        lowest, highest, _, _ = self._terms(t)
        imported, exported = self._micro(t)
        import_kwh, export_kwh = self._carried
        admitted = admit(
            orders,
            self._rules,
            interval=t,
            households=len(self._roster.names),
            import_kwh=import_kwh,
            export_kwh=export_kwh,
            bounds=bounds_micro(lowest, highest),
        )
        self._refused = {
            h: tuple(f"interval {t}, order {number}: {why}" for number, why in reasons)
            for h, reasons in admitted.refusals(orders).items()
        }
        grid = Grid(int(imported.max()), int(exported.min()), export_cap=self._export_cap)
        seed = int(generator(self._settings.run.seed, "", t, "ties").integers(2**63))
        mechanism, book = self._settings.market.mechanism, OrderBook.of(admitted)
        capped = None
        if self._allowed is None:
            clearing = clear(mechanism, book, self._rules, grid, seed)
            buy, sell = clearing.signal(grid, self._rules.keep_ppm)
        else:
            answered = np.isin(np.arange(len(self._roster.names)), list(replies))
            scarcity = self._scarcity(t)
            capped = clear_under_cap(
                mechanism, book, self._rules, grid, seed,
                cap_milliwh=self._allowed, ceiling=scarcity, answered=answered,
            )  # fmt: skip
            clearing, (buy, sell) = capped.clearing, capped.signal
            self.state.allowances[t] = dict(enumerate(capped.milliwh.tolist()))
            self.state.scarcity[t] = scarcity
        self.state.signals.append((buy / MICRO, sell / MICRO))
        self.state.forget_signals(t - self._told)
        return clearing, admitted.refused, capped

    def _remember(self, t: int, clearing: Clearing, fills: Fills) -> None:
        table = np.stack([fills.bought, fills.sold, fills.paid, fills.received], axis=1)
        traded = np.flatnonzero(table.any(axis=1))
        self.state.fills[t] = {int(h): tuple(table[h].tolist()) for h in traded}

    def _compensation(
        self, t: int, settled: Settlement, reports: Mapping[int, Mapping[str, float]]
    ) -> tuple[int, Ints] | None:
        """What moves from gainers to losers (H,) [micro] with the last settlement, that of
        ``t`` - 1, if anything, and that interval."""
        settings, prices = self._settings, self._prices
        if not settings.market.compensate_losers:
            return None
        run = slice(0, t)
        dearest = np.nanmax(np.abs(np.concatenate((prices.retail, prices.feed_in))[:, run]), axis=0)
        limit = most_carried(
            dearest,
            0.0,
            *(float(np.max(limit)) for limit in self._carried),
        )
        told = [reports.get(h, {}) for h in range(len(self._roster.names))]
        owed = self._books.ledger.owed(t - 1, settled)
        return t - 1, compensate(told_gains(told, owed, limit))


def _mean(prices: Floats) -> float:
    """Mean over the households; just the price where all have one."""
    return float(prices[0]) if (prices == prices[0]).all() else float(prices.mean())


def _orders(t: int, replies: Mapping[int, Ints], feeder: Ints) -> Orders:
    """Orders of all households, numbered as each sent them; ``feeder`` (H,) of each household."""
    rows = [(h, orders) for h, orders in sorted(replies.items()) if len(orders)]
    table = np.concatenate([orders for _, orders in rows]) if rows else np.zeros((0, 3), np.int64)
    counts = [len(orders) for _, orders in rows]
    household = np.repeat(np.array([h for h, _ in rows], dtype=np.int64), counts)
    numbers: Sequence[Ints] = [np.arange(count, dtype=np.int64) for count in counts]
    return Orders(
        household=household,
        side=np.clip(table[:, 0], -2, 2).astype(np.int8),
        quantity_kwh=table[:, 1] / MILLI_WH_PER_KWH,
        price=table[:, 2] / MICRO,
        number=np.concatenate(numbers) if counts else np.zeros(0, np.int64),
        interval=np.full(len(table), t, dtype=np.int64),
        feeder=feeder[household],
        min_kwh=np.zeros(len(table)),
    )
