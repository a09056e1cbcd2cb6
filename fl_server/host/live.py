"""The interval loop on the wall clock, for months: nothing waits for a household that is away.

What has been decided is committed before anybody is told of it: fills, settlement and the state to
go on from are one transaction. So a coordinator that dies goes on where that transaction ends.
"""

import fcntl
import math
import os
import time
import traceback
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pandas as pd
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from common.config import Settings
from common.data.frame import check_name
from common.errors import InputError
from common.files import write_json
from common.messages import (
    FILLS,
    JOIN,
    Announcement,
    Join,
    Joined,
    Kept,
    MessageError,
    NotJoined,
    brief,
    read_reply,
)
from common.month_statement import digest
from fl_server.coordinator import NO_FILL, Answers
from fl_server.exchange import exchange
from fl_server.host.clock import Clock
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.journal import journal, journal_to
from fl_server.host.members import admitted, leaving, read_members
from fl_server.host.replies import survive_unreadable_replies
from fl_server.host.tally import Tally
from fl_server.host.tariff_file import PublishedTariff
from fl_server.mailbox import Mailbox
from fl_server.month_compensation import MonthCompensation
from fl_server.months import Calendar, due, month_statement, next_month
from fl_server.opened import Run, open_run
from fl_server.roster import Roster
from fl_server.start import join_message

_NODE_POLL_S = 0.5
_RETRY_S = 10.0
# A model round ends this long before the next market round begins, as a share of an interval.
_RESERVE = 0.1
_LEAST_ROUND_S = 5.0


class Patience:
    """How long a round may take: until shortly before the next market round begins.

    ``t`` is the next interval to run, or the one that has just begun.
    """

    def __init__(self, clock: Clock, deployment: Deployment, unhurried_s: float) -> None:
        self._clock, self._deployment, self._unhurried_s = clock, deployment, unhurried_s
        self.t = 0

    def room(self) -> float:
        """Seconds that a round begun now may take."""
        left = self._clock.left(self.t)
        if math.isinf(left):
            return self._unhurried_s
        if left <= 0:
            left = self._clock.left(self.t + 1)
        length = self._clock.begins(1) - self._clock.begins(0)
        return max(left - _RESERVE * length, 0.0)

    def market(self) -> float:
        """Seconds that a market round begun now waits for replies."""
        return min(self._deployment.market_deadline_s, self.room())


class LiveRun:
    """An open run that keeps time. ``folder``, ``deployment``: where it lives and how."""

    def __init__(
        self,
        *,
        name: str,
        run: Run,
        clock: Clock,
        patience: Patience,
        folder: Folder,
        deployment: Deployment,
        tariff: PublishedTariff,
    ) -> None:
        self._tariff = tariff
        self._name, self._run, self._clock, self._patience = name, run, clock, patience
        self._folder, self._deployment = folder, deployment
        self._settings, self._state = run.settings, run.state
        self._coordinator, self._mailbox = run.coordinator, run.coordinator.mailbox
        self._roster = self._mailbox.roster
        self._joined: dict[int, Joined] = {}
        self._round = 0  # the newest model round that is done
        self._answered: list[int] = []
        self._last: dict[str, object] = {}
        zone = tariff.prices.zone
        self._calendar = Calendar(run.start, run.settings.cadence, zone)
        if run.settings.endless and run.settings.market.compensate_losers:
            wait = run.settings.cadence.of_hours(run.settings.settlement.wait_hours)
            self._coordinator.months = MonthCompensation(
                run.state, run.ledger, self._calendar, run.prices, wait
            )
        self._left: set[int] = set()  # who leaves and owes no reading any more
        self._members_read = _stamp(folder.members)
        self._tally = Tally(run.ledger, folder.run, run.start, run.settings.cadence.step)

    # ---- the loop -----------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the end."""
        state, clock = self._state, self._clock
        self._patience.t = state.t
        self._resume()
        while not self._ended():
            t = state.t
            if clock.current(t) > t:
                self._skip(t)
                continue
            self._tell("waiting")
            clock.wait(t)
            self._read_members()
            self._read_tariff(t)
            self._tell("market")
            self._await_returning()
            self._join_missing(self._patience.market() / 4)
            self._booked(t, self._coordinator.interval(t))
            self._announce(t, self._answered)
            self._learn()
        clock.wait(state.t)
        self._tell("closing")
        self._close()
        self._tell("finished")

    def _ended(self) -> bool:
        """Whether there is no interval left: of a run without end, once it was told to end."""
        if self._settings.endless:
            return self._state.t > 0 and self._folder.ending.exists()
        return self._state.t >= self._settings.intervals

    def _resume(self) -> None:
        """Greet the households, and repeat what a killed coordinator may not have got to say."""
        state, learning = self._state, self._run.learning
        self._join_missing(self._deployment.market_deadline_s)
        self._round = self._run.model_t // self._settings.round_every
        if learning is not None:
            learning.rounds.limit(self._patience.room())
            # Everyone forecasts with the model of the newest round.
            learning.broadcast(self._round, self._round * self._settings.round_every)
        if state.t > 0:
            journal("resumed", interval=state.t, round=self._round)
            last = state.t - 1
            allowed = self._roster.online() & set(state.allowances.get(last, {}))
            self._announce(last, sorted(allowed | set(state.fills.get(last, {}))))
            self._learn()

    def _await_returning(self) -> None:
        """Wait for those who answered the last round and are away now, up to the deadline.

        Without a clock no interval passes meanwhile; or a short break of the line would be the
        whole rest of a run.
        """
        if self._clock.speed is not None:
            return
        end = time.monotonic() + self._deployment.market_deadline_s
        while set(self._answered) - self._roster.online() and time.monotonic() < end:
            time.sleep(_NODE_POLL_S)

    def _skip(self, t: int) -> None:
        """Book an interval that has passed without a market."""
        self._read_members()
        self._read_tariff(t)
        journal("interval skipped", interval=t, running=self._clock.current(t))
        self._booked(t, self._coordinator.skip(t, "the coordinator was away"))

    def _booked(self, t: int, answers: Answers) -> None:
        """Interval t is booked: remember and say what became of it."""
        self._patience.t = self._state.t
        self._answered = sorted(answers.orders)
        self._heard(t, answers)
        for h in sorted(self._roster.leaving - self._left):
            if not self._state.unread(h, self._state.t):
                self._left.add(h)
                journal("has left: all that it owed is settled", household=self._roster.names[h])
        line = self._state.lines.get(t, {})
        self._last = {
            key: line.get(key)
            for key in ("interval", "time", "retail", "local_price", "delivered_kwh", "interval_ms")
        }
        journal(
            "interval booked",
            interval=t,
            replies=len(self._answered),
            missing=[self._roster.names[h] for h in sorted(answers.faults)],
            seconds=float(line.get("interval_ms", 0.0)) / 1e3,  # type: ignore[arg-type]
        )

    def _heard(self, t: int, answers: Answers) -> None:
        """Say who gave no usable answer; who has not joined is asked to before the next round."""
        for h in answers.not_joined:
            self._joined.pop(h, None)
        for h, fault in answers.faults.items():
            name = self._roster.names[h]
            journal("no usable reply", interval=t, household=name, why=fault)

    def _read_tariff(self, t: int) -> None:
        """Take over prices that have been published since, and keep those that are told now."""
        for event, facts in self._tariff.tell(t):
            journal(event, **facts)

    def _announce(self, t: int, who: Iterable[int]) -> None:
        """Tell households what they have traded, so that their batteries can act on it now."""
        # Who has been expelled since it traded is told nothing: its fills stand in the ledger.
        there = set(self._roster.present)
        who = {h for h in who if h in there}
        online = self._roster.online()
        closed = self._closed(who | online)
        who = sorted(who | (closed.keys() & online))
        told = [
            (h, replace(self._told(t, h), statement=closed[h][1] if h in closed else "").encode())
            for h in who
        ]
        if not told or self._clock.current(t) > t:
            return
        heard = 0
        for h, reply in self._mailbox.ask(FILLS, t, told):
            try:
                kept = read_reply(reply, Kept.decode).kept
                heard += kept
                if kept and h in closed:
                    self._kept(h, *closed[h])
            except NotJoined:
                self._joined.pop(h, None)
            except MessageError as error:
                journal(
                    "fill not kept",
                    interval=t,
                    household=self._roster.names[h],
                    why=str(error),
                )
        journal("fills told", interval=t, households=len(told), heard=heard)

    def _closed(self, who: Collection[int]) -> dict[int, tuple[pd.Period, str]]:
        """By household of these, the next month that is over and its statement, until it is kept.

        Statements are made of the ledger: those of who is away wait until they can be told.
        """
        found = {}
        for h in (*self._roster.present, *sorted(self._roster.leaving)):
            if h not in who:
                continue
            leaves = h in self._roster.leaving
            month = due(self._state, self._calendar, h, leaves=leaves)
            if month is not None and not self._awaits_compensation(month):
                found[h] = month, self._statement(h, month)
        return found

    def _awaits_compensation(self, month: pd.Period) -> bool:
        """Whether a month is over whose members have not compensated each other yet.

        A member that leaves takes no part in that of the month that is not over.
        """
        if self._coordinator.months is None:
            return False
        end = self._calendar.end(month)
        return self._state.compensated < end <= self._state.t

    def _statement(self, h: int, month: pd.Period) -> str:
        before = self._state.stated.get(h, ("", ""))[1]
        name, zone = self._roster.names[h], self._tariff.prices.zone
        return month_statement(self._run.ledger, self._name, name, month, before, zone)

    def _kept(self, h: int, month: pd.Period, text: str) -> None:
        """A household has kept a month's statement."""
        self._state.stated[h] = str(month), digest(text)
        journal("month closed", household=self._roster.names[h], month=str(month))

    def _keeps(self, h: int, t: int, month: pd.Period) -> bool:
        """Whether a household keeps a statement that it is told now, the run being over."""
        text = self._statement(h, month)
        told = Announcement(self._name, t, NO_FILL, None, text).encode()
        patience = self._deployment.market_deadline_s
        for _, reply in self._mailbox.ask(FILLS, t, [(h, told)], patience):
            with suppress(MessageError):
                if read_reply(reply, Kept.decode).kept:
                    self._kept(h, month, text)
                    return True
        return False

    def _told(self, t: int, h: int) -> Announcement:
        """What household ``h`` hears of the market of interval t."""
        state, allowance = self._state, None
        if t in state.allowances:
            allowance = state.allowances[t][h], state.scarcity[t]
        return Announcement(self._name, t, state.fills.get(t, {}).get(h, NO_FILL), allowance)

    def _close(self) -> None:
        """Settle the last interval; wait for those who are away, within reason."""
        t, end = self._state.t, time.monotonic() + self._deployment.closing_deadline_s
        answers, owing = Answers(), self._coordinator.asked(t)
        while owing and (left := end - time.monotonic()) > 0:
            self._read_members()
            patience = min(self._deployment.market_deadline_s, left)
            self._join_missing(patience / 4)
            waited_for = sorted(set(owing) & set(self._coordinator.asked(t)))
            more = self._coordinator.ask(t, waited_for, patience, closing=True)
            self._heard(t, more)
            answers.orders |= more.orders
            answers.readings |= more.readings
            answers.reports |= more.reports
            # Who has answered may wait for its meter still.
            owing = [h for h in waited_for if h in more.faults or self._owes(h, t, answers)]
            if owing:
                self._tell("closing")
                time.sleep(min(_RETRY_S, max(end - time.monotonic(), 0.0)))
        # Reports come once: they are on disk before the run is closed for good.
        joined = {self._roster.names[h]: one for h, one in self._joined.items()}
        self._run.write_reports(joined, answers.reports)
        self._coordinator.close(answers, t)
        if self._settings.endless:
            self._state_finally(t)

    def _owes(self, h: int, t: int, answers: Answers) -> bool:
        """Whether household ``h`` has not told all readings before interval ``t``."""
        told = {int(row[0]) for row in answers.readings.get(h, ())}
        return any(s not in told for s in self._state.unread(h, t))

    def _state_finally(self, t: int) -> None:
        """Tell everybody who is there what is not stated yet, up to the month the run ends in."""
        for h in sorted(self._roster.online()):
            while (month := next_month(self._state, self._calendar, h)) is not None:
                if month > self._calendar.month(t - 1) or not self._keeps(h, t, month):
                    break

    # ---- who is in ----------------------------------------------------------------------------

    def _read_members(self) -> None:
        """Take over who was admitted, expelled or given another key since."""
        stamp = _stamp(self._folder.members)
        if self._deployment.insecure or stamp == self._members_read:
            return
        try:
            members = read_members(self._folder.members)
        except InputError as error:
            journal("members not read: as before", error=str(error))
            return
        roster, names = self._roster, [member.name for member in members]
        known = len(roster.names)
        if names[:known] != list(roster.names):
            journal("members not read: as before", error="accounts have other names")
            return
        self._members_read = stamp
        before = [*roster.node_ids, *([None] * (len(members) - known))]
        left = roster.leaving
        roster.take_over(names, [member.node_id for member in members], leaving(members))
        for h in sorted(roster.leaving - left):
            journal("leaves", household=names[h])
        for h, (was, now) in enumerate(zip(before, roster.node_ids, strict=True)):
            if was != now:
                self._joined.pop(h, None)
                journal("admitted" if now is not None else "expelled", household=names[h])
        self._run.ledger.admit(names[known:])
        self._state.grow(len(names))

    def _join_missing(self, patience: float) -> None:
        """Ask those who are connected and have not joined to do so."""
        away = [h for h in sorted(self._roster.online()) if h not in self._joined]
        if not away:
            return
        state = self._state
        requests = [
            (
                h,
                join_message(
                    self._settings,
                    self._name,
                    self._run.start,
                    self._begins(h),
                    self._deployment.ends,
                ).encode(),
            )
            for h in away
        ]
        for h, reply in self._mailbox.ask(JOIN, state.t, requests, patience):
            name = self._roster.names[h]
            try:
                joined = read_reply(reply, Joined.decode)
                if joined.name != name:
                    raise MessageError("its node is admitted under another name")
            except MessageError as error:
                journal("join refused", household=name, error=str(error))
                continue
            self._joined[h] = joined
            # One that lost its disk must be told the past again.
            state.heard[h] = min(state.heard[h], max(joined.newest - 1, -1))
            journal("joined", household=name, newest=joined.newest)

    def _begins(self, h: int) -> int:
        """Where a household begins that has kept nothing of this run: when it came in.

        Of a run without end with the oldest interval whose reading it still owes.
        """
        since = self._state.since(h)
        if not self._settings.endless:
            return since
        return max(since, min(self._state.unread(h, self._state.t), default=self._state.t))

    # ---- the model round ----------------------------------------------------------------------

    def _learn(self) -> None:
        """Run the model round that is due, if there is time for one before the next market."""
        learning = self._run.learning
        if learning is None:
            return
        if (due := learning.due(self._state.t)) <= self._round:
            if used := learning.take_late(self._round):
                # An update that was taken is not asked for again: it must survive a crash.
                self._run.save()
                journal("late updates used", round=self._round, updates=used)
            return
        self._round = due
        room = self._patience.room()
        if room < _LEAST_ROUND_S:
            journal("model round left out: no time", round=due)
            return
        self._tell("model round")
        learning.rounds.limit(room)
        begin = time.perf_counter()
        learning.round(due)
        self._run.save()
        journal("model round", round=due, seconds=time.perf_counter() - begin)

    def _standing(self, h: int) -> str:
        """Whether a household is in."""
        if self._roster.node_ids[h] is None:
            return "expelled"
        if h not in self._roster.leaving:
            return "in"
        return "leaving" if self._state.unread(h, self._state.t) else "left"

    # ---- being seen ---------------------------------------------------------------------------

    def _tell(self, phase: str) -> None:
        """Write what is going on to the status file, for whoever looks."""
        state, online = self._state, self._roster.online()
        # The newest interval is asked for in the round to come.
        owed = {
            h: sum(s < state.t - 1 for s in state.unread(h, state.t))
            for h in range(len(state.heard))
        }
        self._tally.catch_up()
        bills = self._tally.bills()
        write_json(
            self._folder.status,
            {
                "run": self._name,
                "phase": phase,
                "time": time.time(),
                "pid": os.getpid(),
                "interval": min(state.t, self._settings.intervals),
                "intervals": None if self._settings.endless else self._settings.intervals,
                "interval_minutes": self._settings.cadence.minutes,
                "speed": self._clock.speed,
                "lag_s": self._clock.lag(state.t),
                "round": self._round,
                "market_bytes_down": self._mailbox.bytes_down,
                "market_bytes_up": self._mailbox.bytes_up,
                "faults": len(state.faults),
                "last": self._last,
                "totals": self._tally.totals(),
                "households": {
                    name: {
                        "online": h in online,
                        "joined": h in self._joined,
                        "member": self._standing(h),
                        "settled": state.heard[h],
                        "owed": owed[h],
                        "bill_today": bills.get(name, (0.0, 0.0))[0],
                        "bill": bills.get(name, (0.0, 0.0))[1],
                    }
                    for h, name in enumerate(self._roster.names)
                },
            },
            durable=False,
        )


# ---- from the folder to the run ---------------------------------------------------------------


def run_live(grid: Grid, root: Path) -> None:
    """Run, or continue, the community of a server folder. How it ended is in its outcome file."""
    folder = Folder(root)
    folder.run.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("w") as lock:
        _hold(lock)
        folder.outcome.unlink(missing_ok=True)
        journal_to(folder.log / "coordinator.jsonl")
        survive_unreadable_replies()
        try:
            _run(grid, folder)
        except Exception as error:
            journal("failed", error=f"{type(error).__name__}: {error}", where=_where(error))
            write_json(
                folder.outcome,
                {
                    "state": "failed",
                    "input": isinstance(error, InputError),
                    "error": f"{type(error).__name__}: {error}",
                },
            )
            raise
        write_json(folder.outcome, {"state": "finished"})


def _where(error: BaseException) -> list[str]:
    """The lines of code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-6:]]


def _hold(lock: IO[str]) -> None:
    # A coordinator whose SuperLink died goes within a second.
    for _ in range(20):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.5)
    raise RuntimeError("another coordinator runs on this folder")


def _run(grid: Grid, folder: Folder) -> None:
    deployment, live = folder.deployment(), Live.read(folder.live)
    members = read_members(folder.members)
    if live is None or not (admitted(members) or deployment.insecure):
        raise InputError(f"{folder.root}: no run begun, or nobody admitted")
    settings = folder.settings(None if deployment.insecure else len(members))
    start = pd.Timestamp(live.start)
    clock = Clock(live.anchor, live.speed, cadence=settings.cadence)
    tariff = PublishedTariff(folder, settings, start)
    if deployment.insecure:
        join = join_message(settings, live.run, start, 0, deployment.ends)
        roster = Roster(grid, _claimed(grid, settings, join))
    else:
        roster = Roster(grid, {})
        roster.take_over([m.name for m in members], [m.node_id for m in members], leaving(members))
    _await_households(roster, settings, clock)
    patience = Patience(clock, deployment, settings.run.reply_deadline_s)
    with open_run(
        settings=settings,
        directory=folder.run,
        name=live.run,
        start=start,
        prices=tariff.prices,
        home=settings.home,
        mailbox=Mailbox(roster, patience.market, network=True),
        durable=True,
        state_with_postings=True,
    ) as run:
        # A ledger of a release before does not say that it is closed.
        if not run.state.over and run.state.t <= settings.intervals:
            LiveRun(
                name=live.run,
                run=run,
                clock=clock,
                patience=patience,
                folder=folder,
                deployment=deployment,
                tariff=tariff,
            ).run()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written anew."""
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size


def _claimed(grid: Grid, settings: Settings, join: Join) -> dict[int, str]:
    """Names by node as the nodes themselves claim: without authentication there is no better."""
    end = time.monotonic() + settings.run.node_deadline_s
    while len(nodes := list(grid.get_node_ids())) < settings.run.households:
        if time.monotonic() > end:
            raise RuntimeError(f"{len(nodes)} of {settings.run.households} households connected")
        time.sleep(_NODE_POLL_S)
    messages = [Message(join.encode(), node, f"{MessageType.QUERY}.{JOIN}") for node in nodes]
    names = {}
    for reply in exchange(grid, messages, settings.run.node_deadline_s):
        try:
            name = check_name(read_reply(reply, Joined.decode).name)
        except (MessageError, InputError) as error:
            journal("join refused", node=reply.metadata.src_node_id, error=brief(str(error)))
            continue
        names[reply.metadata.src_node_id] = name
    return names


def _await_households(roster: Roster, settings: Settings, clock: Clock) -> None:
    """Wait until all are connected, or the deadline or the first interval comes."""
    end = time.monotonic() + min(settings.run.node_deadline_s, max(clock.left(0), 1.0))
    if clock.speed is None:
        end = time.monotonic() + settings.run.node_deadline_s
    while len(online := roster.online()) < len(roster.present) and time.monotonic() < end:
        time.sleep(_NODE_POLL_S)
    journal("households connected", online=len(online), admitted=len(roster.present))
