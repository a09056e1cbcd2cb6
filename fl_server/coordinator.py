"""The interval loop: price signal, market round, settlement; every few intervals a model round.

One message each way per household and interval: the request carries the fills of the interval
before, the reply its meter reading and the orders of this one.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from common.arrays import Floats, Ints
from common.config import Settings
from common.data.frame import INTERVAL as HALF_HOUR
from common.market_rules import (
    MICRO,
    MILLI_WH_PER_KWH,
    SCARCITY,
    MarketRules,
    Orders,
    admit,
    to_micro,
)
from common.messages import INTERVAL, IntervalReply, IntervalRequest, MessageError, read_reply
from common.rng import generator
from fl_server.checkpoint import Checkpoint, Checkpoints
from fl_server.exchange import exchange
from fl_server.ledger import Ledger
from fl_server.market import Clearing, Fills, Grid, OrderBook, clear
from fl_server.market.allowances import Capped, clear_under_cap
from fl_server.market.compensation import compensate, most_carried, told_gains
from fl_server.roster import Roster
from fl_server.rounds import Rounds, scalar
from fl_server.run_files import Lines
from fl_server.settlement import Settlement, settle, surcharge

NO_FILL = (0, 0, 0, 0)


@dataclass(frozen=True)
class Prices:
    """The tariff: ``retail`` (T + published,) per kWh from interval 0 on, ``feed_in`` per kWh."""

    retail: Floats
    feed_in: float

    def published(self, t: int, count: int) -> Floats:
        """Retail prices known at ``t``: those of the next ``count`` intervals."""
        return self.retail[t : t + count]


@dataclass(frozen=True)
class RunFiles:
    """Where the coordinator writes what has happened."""

    intervals: Lines
    rounds: Lines
    checkpoints: Checkpoints


@dataclass
class Answers:
    """What the households said in one round, by their index."""

    orders: dict[int, Ints]
    readings: dict[int, Ints]
    reports: dict[int, Mapping[str, float]]
    faults: dict[int, str]


class Coordinator:
    """Runs intervals ``state.t`` to ``intervals`` - 1 of a run and closes it.

    ``rounds`` is None for a run without learning.
    """

    def __init__(
        self,
        roster: Roster,
        settings: Settings,
        run: str,
        start: pd.Timestamp,
        prices: Prices,
        ledger: Ledger,
        rounds: Rounds | None,
        files: RunFiles,
        state: Checkpoint,
    ) -> None:
        self._roster, self._settings, self._run = roster, settings, run
        self._start, self._prices = start, prices
        self._ledger, self._rounds, self._files, self._state = ledger, rounds, files, state
        market = settings.market
        self._rules = MarketRules(
            market.loss,
            market.min_margin,
            market.max_steps,
            market.k,
            market.feeder_loss,
            market.feeder_fee,
        )
        # Feeders are numbered along the households' names.
        self._feeder = np.arange(len(roster.names)) // (market.feeder_size or len(roster.names))
        # mWh in half an hour from a limit in kW.
        kw, export_kw = market.import_cap_kw, market.export_cap_kw
        self._cap = None if kw is None else round(kw * MILLI_WH_PER_KWH / 2)
        self._allowed = (
            None if kw is None else round(kw * (1 - market.cap_reserve) * MILLI_WH_PER_KWH / 2)
        )
        self._export_cap = None if export_kw is None else round(export_kw * MILLI_WH_PER_KWH / 2)
        self._refused: dict[int, tuple[str, ...]] = {}

    def run(self) -> dict[str, Mapping[str, float]]:
        """Run to the end; returns the households' closing reports by name."""
        settings, state = self._settings, self._state
        while state.t < settings.intervals:
            t = state.t
            self._interval(t)
            if self._rounds is not None and (t + 1) % settings.fl.every_intervals == 0:
                self._model_round(t)
            state.t = t + 1
            if state.t % settings.run.checkpoint_every == 0:
                self._files.checkpoints.save(state, self._rounds)
        return self._close()

    # ---- the market round ---------------------------------------------------------------------

    def _interval(self, t: int) -> None:
        begin = time.perf_counter()
        self._conclude(t, self._ask(t, closing=False), begin)

    def _conclude(self, t: int, answers: Answers, begin: float) -> None:
        """Settle interval t - 1, clear interval t, and book both."""
        settled = self._settle(t - 1, answers.readings)
        clear_begin = time.perf_counter()
        clearing, refused, capped = self._clear(t, answers.orders)
        clear_ms = (time.perf_counter() - clear_begin) * 1e3
        fills = clearing.fills(len(self._roster.names))
        self._remember(t, clearing, fills)
        self._state.lines[t] = {
            "interval": t,
            "time": (self._start + t * HALF_HOUR).isoformat(),
            "retail": float(self._prices.retail[t]),
            "feed_in": self._prices.feed_in,
            "local_price": None if clearing.price is None else clearing.price / MICRO,
            "marginal_buy": self._state.signals[t][0],
            "marginal_sell": self._state.signals[t][1],
            "sent_kwh": clearing.sent_milliwh / MILLI_WH_PER_KWH,
            "delivered_kwh": clearing.delivered_milliwh / MILLI_WH_PER_KWH,
            "orders": sum(len(orders) for orders in answers.orders.values()),
            "refused": refused,
            "missing": sorted(self._roster.names[h] for h in answers.faults),
            "clear_ms": clear_ms,
            "interval_ms": (time.perf_counter() - begin) * 1e3,
        }
        if capped is not None:
            self._state.lines[t] |= {
                "allowance_price": capped.price / MICRO,
                "scarcity_price": self._state.scarcity[t] / MICRO,
            }
        self._book(t, fills, settled)

    def _book(
        self,
        t: int,
        fills: Fills | None,
        settled: Settlement | None,
        compensation: Ints | None = None,
    ) -> None:
        """Book the fills of interval t and the settlement of t - 1, and write the latter's line."""
        self._ledger.record(t, fills, settled, None, compensation)
        if settled is not None:
            self._complete_line(t - 1, settled)
            self._files.intervals.write(self._state.lines.pop(t - 1))

    def _message(self, content: RecordDict, node: int, t: int) -> Message:
        return Message(content, node, f"{MessageType.QUERY}.{INTERVAL}", group_id=str(t))

    def _patience(self) -> float:
        """Seconds to wait for the replies of a market round."""
        return self._settings.run.reply_deadline_s

    def _note(self, t: int, faults: Mapping[int, str]) -> None:
        """Remember who gave no usable answer, and why."""
        self._state.faults.extend((t, self._roster.names[h], why) for h, why in faults.items())

    def _requests(self, t: int, closing: bool, who: Iterable[int]) -> Iterable[Message]:
        published = self._settings.tariff.published_intervals
        retail = self._prices.published(t, published)
        state = self._state
        public: ConfigRecord | None = None
        share = -1 if self._allowed is None else self._allowed // len(self._roster.names)
        scarcity = 0 if self._allowed is None else self._scarcity(t)
        for h in who:
            node = self._roster.node_ids[h]
            since = state.heard[h] + 1
            unread = state.unread(h, t)
            fills = [(s, *state.fills[s].get(h, NO_FILL)) for s in unread]
            # Intervals before a cap was set have none.
            allowed = [
                (s, state.allowances[s][h], state.scarcity[s])
                for s in unread
                if s in state.allowances
            ]
            request = IntervalRequest(
                run=self._run,
                t=t,
                retail=retail,
                feed_in=self._prices.feed_in,
                fills=np.array(fills, dtype=np.int64).reshape(-1, 5),
                signals_from=since,
                signals=np.array(state.signals[since:t], dtype=np.float64).reshape(-1, 2),
                refused=self._refused.get(h, ()),
                closing=closing,
                past_retail=self._prices.retail[since:t],
                share=share,
                scarcity=scarcity,
                allowances=np.array(allowed, dtype=np.int64).reshape(-1, 3),
            )
            public = public or request.public()
            yield self._message(request.encode(public), node, t)

    def _ask(self, t: int, closing: bool, only: Sequence[int] | None = None) -> Answers:
        """Ask these households, or all of them, and collect what arrives in time."""
        asked = range(len(self._roster.names)) if only is None else only
        answers = Answers({}, {}, {}, dict.fromkeys(asked, "no reply"))
        requests = self._requests(t, closing, asked)
        for message in exchange(self._roster, requests, self._patience()):
            h = self._roster.index(message.metadata.src_node_id)
            if h not in answers.faults:
                continue
            try:
                reply = read_reply(message, partial(self._read, h, t))
            except MessageError as error:
                answers.faults[h] = str(error)
                continue
            del answers.faults[h]
            answers.orders[h] = reply.orders
            answers.readings[h] = reply.readings
            answers.reports[h] = reply.report
            self._state.heard[h] = t - 1
        self._note(t, answers.faults)
        return answers

    def _read(self, h: int, t: int, content: RecordDict) -> IntervalReply:
        """What household h answers for interval t; raises MessageError where it makes no sense."""
        reply = IntervalReply.decode(content)
        if reply.t != t:
            raise MessageError(f"a reply for interval {reply.t}")
        # Each order that is refused goes back with its reason.
        if len(reply.orders) > 10 * self._rules.max_steps:
            raise MessageError(f"{len(reply.orders)} orders")
        expected = self._state.unread(h, t)
        readings = reply.readings
        if readings[:, 0].tolist() != expected or (readings < 0).any():
            raise MessageError("readings of other intervals than asked for")
        if (readings[:, 1:].max(initial=0)) > 1000 * MILLI_WH_PER_KWH or (
            readings[:, 1] * readings[:, 2]
        ).any():
            raise MessageError("an absurd meter reading")
        return reply

    def _settle(self, last: int, readings: Mapping[int, Ints]) -> Settlement | None:
        """Settle interval ``last`` for the households that answered, and what they owed before."""
        if last < 0:
            return None
        state, count = self._state, len(self._roster.names)
        # In order of name, not of arrival: whoever is late adds to what is above a cap.
        for h, rows in sorted(readings.items()):
            for s, taken, given in rows.tolist():
                if s < last:
                    self._settle_late(h, s, taken, given)
        meter = np.zeros((2, count), dtype=np.int64)
        fills = Fills.none(count)
        for h in range(count):
            if h not in readings:
                state.open.setdefault(last, set()).add(h)
                continue
            meter[:, h] = readings[h][-1, 1:]
            fill = state.fills[last].get(h, NO_FILL)
            for array, value in zip(
                (fills.bought, fills.sold, fills.paid, fills.received), fill, strict=True
            ):
                array[h] = value
        settlement = self._settled(last, meter, fills)
        state.release(last)
        return settlement

    def _settle_late(self, h: int, s: int, taken: int, given: int) -> None:
        state, count = self._state, len(self._roster.names)
        meter = np.zeros((2, count), dtype=np.int64)
        meter[:, h] = taken, given
        fills = Fills.none(count)
        fill = state.fills[s].get(h, NO_FILL)
        fills.bought[h], fills.sold[h], fills.paid[h], fills.received[h] = fill
        self._ledger.record_late(s, h, self._settled(s, meter, fills))
        state.open[s].discard(h)
        if not state.open[s]:
            del state.open[s]

    def _settled(self, s: int, meter: Ints, fills: Fills) -> Settlement:
        """Settle interval s by its meters (2, H), with its surcharge where there is a cap."""
        retail, feed_in = self._micro(s)
        settlement = settle(meter[0], meter[1], fills, retail, feed_in)
        allowances = self._state.allowances.get(s)
        if allowances is None:
            return settlement
        # Who has no allowance here has no reading either.
        allowed = np.zeros(len(self._roster.names), dtype=np.int64)
        allowed[list(allowances)] = list(allowances.values())
        assert self._cap is not None
        before = self._state.drawn.get(s, 0)
        after = before + int(settlement.grid_import.sum())
        self._state.drawn[s] = after
        above = max(after - self._cap, 0) - max(before - self._cap, 0)
        scarcity = self._state.scarcity[s]
        charge = surcharge(settlement.grid_import, allowed, above, retail, scarcity)
        return replace(settlement, surcharge=charge)

    def _scarcity(self, t: int) -> int:
        """What a kWh beyond an allowance costs in interval t [micro]."""
        retail = self._prices.retail[t : t + self._settings.tariff.published_intervals]
        price = self._settings.market.scarcity_price
        if price is None:
            price = SCARCITY * float(np.nanmax(retail))
        return max(to_micro(price), to_micro(float(retail[0])))

    def _micro(self, t: int) -> tuple[int, int]:
        return to_micro(float(self._prices.retail[t])), to_micro(self._prices.feed_in)

    def _clear(self, t: int, replies: Mapping[int, Ints]) -> tuple[Clearing, int, Capped | None]:
        orders = _orders(t, replies, self._feeder)
        connection = self._settings.connection
        admitted = admit(
            orders,
            self._rules,
            interval=t,
            households=len(self._roster.names),
            import_kwh=connection.import_kwh,
            export_kwh=connection.export_kwh,
        )
        self._refused = {
            h: tuple(f"interval {t}, order {number}: {why}" for number, why in reasons)
            for h, reasons in admitted.refusals(orders).items()
        }
        grid = Grid(*self._micro(t), export_cap=self._export_cap)
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
            self._state.allowances[t] = dict(enumerate(capped.milliwh.tolist()))
            self._state.scarcity[t] = scarcity
        self._state.signals.append((buy / MICRO, sell / MICRO))
        return clearing, admitted.refused, capped

    def _remember(self, t: int, clearing: Clearing, fills: Fills) -> None:
        table = np.stack([fills.bought, fills.sold, fills.paid, fills.received], axis=1)
        traded = np.flatnonzero(table.any(axis=1))
        self._state.fills[t] = {int(h): tuple(table[h].tolist()) for h in traded}

    def _complete_line(self, t: int, settled: Settlement) -> None:
        line = self._state.lines[t]
        line["grid_import_kwh"] = int(settled.grid_import.sum()) / MILLI_WH_PER_KWH
        line["grid_export_kwh"] = int(settled.grid_export.sum()) / MILLI_WH_PER_KWH
        if self._cap is not None and settled.surcharge is not None:
            line["above_cap_kwh"] = (
                max(int(settled.grid_import.sum()) - self._cap, 0) / MILLI_WH_PER_KWH
            )
            line["beyond_allowance_kwh"] = int(settled.surcharge.excess.sum()) / MILLI_WH_PER_KWH
            line["surcharged"] = int(settled.surcharge.charged.sum()) / MICRO

    def _close(self) -> dict[str, Mapping[str, float]]:
        """Settle the last interval and collect the reports."""
        t = self._settings.intervals
        answers = self._ask(t, closing=True)
        settled = self._settle(t - 1, answers.readings)
        if settled is not None:
            self._book(t, None, settled, self._compensation(settled, answers.reports))
        return {self._roster.names[h]: report for h, report in sorted(answers.reports.items())}

    def _compensation(
        self, settled: Settlement, reports: Mapping[int, Mapping[str, float]]
    ) -> Ints | None:
        """What moves from gainers to losers (H,) [micro] with the last settlement, if anything."""
        settings, connection = self._settings, self._settings.connection
        if not settings.market.compensate_losers:
            return None
        limit = most_carried(
            self._prices.retail[: settings.intervals],
            self._prices.feed_in,
            connection.import_kwh,
            connection.export_kwh,
        )
        told = [reports.get(h, {}) for h in range(len(self._roster.names))]
        owed = self._ledger.owed(settings.intervals - 1, settled)
        return compensate(told_gains(told, owed, limit))

    # ---- the model round ----------------------------------------------------------------------

    def _model_round(self, t: int) -> None:
        assert self._rounds is not None
        fl = self._settings.fl
        round_ = (t + 1) // fl.every_intervals
        result = self._rounds.run(
            round_, ConfigRecord({"interval": t}), ConfigRecord({"interval": t})
        )
        dropped = {
            reason: count for reason, count in sorted(result.screening.dropped.items()) if count
        }
        self._files.rounds.write(
            {
                "round": round_,
                "interval": t,
                "time": (self._start + (t + 1) * HALF_HOUR).isoformat(),
                "strategy": fl.strategy,
                "sampled": result.sampled,
                "replies": result.screening.accepted,
                "dropped": sum(dropped.values()),
                "dropped_reasons": dropped,
                "unreached": result.unreached,
                "train_loss": scalar(result.train, "train_loss"),
                "val_loss": scalar(result.evaluate, "val_loss"),
                "val_consumption_day": scalar(result.evaluate, "val_consumption_day"),
                "val_price_day": scalar(result.evaluate, "val_price_day"),
                "bytes_up": result.screening.bytes_up,
                "bytes_down": result.bytes_down,
                "seconds": result.seconds,
                **({} if result.spent is None else {"privacy": vars(result.spent)}),
            }
        )


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
