"""The interval loop on the wall clock, for months: nothing waits for a household that is away.

What has been decided is committed before anybody is told of it: fills, settlement and the state to
go on from are one transaction. So a coordinator that dies goes on where that transaction ends.
"""

import fcntl
import math
import os
import secrets
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from common.arrays import Ints
from common.config import Settings, dump
from common.data.frame import check_name
from common.errors import InputError
from common.files import write_json, write_whole
from common.messages import (
    FILLS,
    INTERVAL,
    JOIN,
    Announcement,
    IntervalReply,
    Join,
    Joined,
    MessageError,
    brief,
    content_bytes,
    read_reply,
    says_kept,
)
from fl_server.checkpoint import Checkpoint, Checkpoints
from fl_server.coordinator import NO_FILL, Answers, Coordinator, Prices, RunFiles
from fl_server.exchange import exchange
from fl_server.host.clock import Clock
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.journal import journal, journal_to
from fl_server.host.members import read_members
from fl_server.host.replies import survive_unreadable_replies
from fl_server.host.tariff_file import fill_price, read_tariff
from fl_server.ledger import Ledger
from fl_server.market import Fills
from fl_server.roster import Roster
from fl_server.rounds import Rounds
from fl_server.run_files import INTERVALS, REPORTS, ROUNDS, Lines, ledger_url
from fl_server.settlement import Settlement
from fl_server.start import join_message, open_rounds

_NODE_POLL_S = 0.5
_RETRY_S = 10.0
_KEPT_FAULTS = 10_000
# A model round ends this long before the next market round begins, as a share of an interval.
_RESERVE = 0.1
_LEAST_ROUND_S = 5.0


class LiveCoordinator(Coordinator):
    """A coordinator that keeps time. ``folder``, ``deployment``: where it lives and how."""

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
        clock: Clock,
        folder: Folder,
        deployment: Deployment,
    ) -> None:
        super().__init__(roster, settings, run, start, prices, ledger, rounds, files, state)
        self._clock, self._folder, self._deployment = clock, folder, deployment
        self._joined: dict[int, Joined] = {}
        self._round = 0  # the newest model round that is done
        self._answered: list[int] = []
        self._bytes = [0, 0]  # market messages, down and up
        self._last: dict[str, object] = {}
        self._tariff_read = 0.0

    # ---- the loop -----------------------------------------------------------------------------

    def run(self) -> dict[str, Mapping[str, float]]:
        """Run to the end; returns the households' closing reports by name."""
        state, clock = self._state, self._clock
        self._resume()
        while state.t < self._settings.intervals:
            t = state.t
            if clock.current(t) > t:
                self._skip(t)
                continue
            self._tell("waiting")
            clock.wait(t)
            self._read_tariff(t)
            self._tell("market")
            self._await_returning()
            self._join_missing(self._patience() / 4)
            self._interval(t)
            self._announce(t, self._answered)
            self._learn()
        clock.wait(self._settings.intervals)
        self._tell("closing")
        reports = self._close()
        self._tell("finished")
        return reports

    def _resume(self) -> None:
        """Greet the households, and repeat what a killed coordinator may not have got to say."""
        state, every = self._state, self._settings.fl.every_intervals
        self._join_missing(self._deployment.market_deadline_s)
        stored = self._files.checkpoints.load()
        self._round = 0 if stored is None else stored.t // every
        if self._rounds is not None:
            self._rounds.limit(self._room(state.t))
            # Everyone forecasts with the model of the newest round.
            self._rounds.broadcast(self._round, ConfigRecord({"interval": self._round * every}))
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
        """Book an interval that has passed without a market: everyone settles it by itself."""
        self._read_tariff(t)
        journal("interval skipped", interval=t, running=self._clock.current(t))
        everyone = dict.fromkeys(range(len(self._roster.names)), "the coordinator was away")
        self._note(t, everyone)
        self._conclude(t, Answers({}, {}, {}, everyone), time.perf_counter())

    def _read_tariff(self, t: int) -> None:
        """Take over prices that have been published since; those already told stay."""
        retail, file = self._prices.retail, self._folder.tariff
        if file.exists() and file.stat().st_mtime != self._tariff_read:
            self._tariff_read = file.stat().st_mtime
            try:
                new = read_tariff(file, self._start, len(retail))
            except InputError as error:
                journal("tariff refused", error=str(error))
            else:
                unknown = np.isnan(retail)
                retail[unknown] = new[unknown]
        if fill_price(retail, t):
            journal("no price published: that of the day before holds", interval=t)

    # ---- the market round ---------------------------------------------------------------------

    def _patience(self) -> float:
        return min(self._deployment.market_deadline_s, self._room(self._state.t))

    def _room(self, t: int) -> float:
        """Seconds that a round begun now may take: until shortly before the next market round.

        ``t``: the next interval to run, or the one that has just begun.
        """
        left = self._clock.left(t)
        if math.isinf(left):
            return self._settings.run.reply_deadline_s
        if left <= 0:
            left = self._clock.left(t + 1)
        length = self._clock.begins(1) - self._clock.begins(0)
        return max(left - _RESERVE * length, 0.0)

    def _message(self, content: RecordDict, node: int, t: int, action: str = INTERVAL) -> Message:
        self._bytes[0] += content_bytes(content)
        # Whoever answers must have been sent the message: nobody else can name it.
        group = f"{t}-{secrets.token_hex(16)}"
        ttl = self._patience() + 10.0
        return Message(content, node, f"{MessageType.QUERY}.{action}", ttl=ttl, group_id=group)

    def _conclude(self, t: int, answers: Answers, begin: float) -> None:
        self._answered = sorted(answers.orders)
        for h, fault in answers.faults.items():
            if "has not joined" in fault:
                self._joined.pop(h, None)
        super()._conclude(t, answers, begin)

    def _read(self, h: int, t: int, content: RecordDict) -> IntervalReply:
        self._bytes[1] += content_bytes(content)
        return super()._read(h, t, content)

    def _book(
        self,
        t: int,
        fills: Fills | None,
        settled: Settlement | None,
        compensation: Ints | None = None,
    ) -> None:
        state = self._state
        if settled is not None:
            self._complete_line(t - 1, settled)
        del state.faults[:-_KEPT_FAULTS]
        # The last settlement moves on as well: a run that is closed is not closed again.
        after = replace(state, t=t + 1)
        self._ledger.record(t, fills, settled, after.to_json(), compensation)
        state.t = after.t
        if settled is not None:
            self._files.intervals.write(state.lines.pop(t - 1))
        line = state.lines.get(t, {})
        self._last = {
            key: line.get(key)
            for key in ("interval", "time", "retail", "local_price", "delivered_kwh", "interval_ms")
        }
        missing = line.get("missing", [])
        assert isinstance(missing, list)
        journal(
            "interval booked",
            interval=t,
            replies=len(self._answered),
            missing=missing,
            seconds=float(line.get("interval_ms", 0.0)) / 1e3,  # type: ignore[arg-type]
        )

    def _announce(self, t: int, who: list[int]) -> None:
        """Tell households what they have traded, so that their batteries can act on it now."""
        if not who or self._clock.current(t) > t:
            return
        messages = [
            self._message(self._told(t, h).encode(), self._roster.node_ids[h], t, FILLS)
            for h in who
        ]
        heard = 0
        for reply in exchange(self._roster, messages, self._patience()):
            with suppress(MessageError):
                heard += read_reply(reply, says_kept)
        journal("fills told", interval=t, households=len(who), heard=heard)

    def _told(self, t: int, h: int) -> Announcement:
        """What household ``h`` hears of the market of interval t."""
        state, allowance = self._state, None
        if t in state.allowances:
            allowance = state.allowances[t][h], state.scarcity[t]
        return Announcement(self._run, t, state.fills.get(t, {}).get(h, NO_FILL), allowance)

    def _close(self) -> dict[str, Mapping[str, float]]:
        """Settle the last interval; wait for those who are away, within reason."""
        t, end = self._settings.intervals, time.monotonic() + self._deployment.closing_deadline_s
        answers = Answers({}, {}, {}, dict.fromkeys(range(len(self._roster.names)), "no reply"))
        while answers.faults and time.monotonic() < end:
            self._join_missing(self._patience() / 4)
            more = self._ask(t, closing=True, only=sorted(answers.faults))
            answers.orders |= more.orders
            answers.readings |= more.readings
            answers.reports |= more.reports
            answers.faults = more.faults
            if answers.faults:
                self._tell("closing")
                time.sleep(min(_RETRY_S, max(end - time.monotonic(), 0.0)))
        settled = self._settle(t - 1, answers.readings)
        assert settled is not None
        reports = {self._roster.names[h]: report for h, report in sorted(answers.reports.items())}
        # Reports come once: they are on disk before the run is closed for good.
        write_json(
            self._folder.run / REPORTS,
            {
                "start": self._start.isoformat(),
                "retail": self._prices.retail[: self._settings.intervals].tolist(),
                "joined": {self._roster.names[h]: vars(j) for h, j in sorted(self._joined.items())},
                "households": reports,
                "faults": self._state.faults,
            },
        )
        self._book(t, None, settled, self._compensation(settled, answers.reports))
        return reports

    # ---- joining ------------------------------------------------------------------------------

    def _join_missing(self, patience: float) -> None:
        """Ask those who are connected and have not joined to do so."""
        online = self._roster.online()
        away = [h for h in sorted(online) if h not in self._joined]
        if not away:
            return
        state = self._state
        join: Join = join_message(
            self._settings, self._run, self._start, self._prices, state.t, self._deployment.ends
        )
        messages = [
            self._message(join.encode(), self._roster.node_ids[h], state.t, JOIN) for h in away
        ]
        for reply in exchange(self._roster, messages, patience):
            h = self._roster.index(reply.metadata.src_node_id)
            if h is None:
                continue
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

    # ---- the model round ----------------------------------------------------------------------

    def _learn(self) -> None:
        """Run the model round that is due, if there is time for one before the next market."""
        due = self._state.t // self._settings.fl.every_intervals
        if self._rounds is None or due <= self._round:
            return
        self._round = due
        room = self._room(self._state.t)
        if room < _LEAST_ROUND_S:
            journal("model round left out: no time", round=due)
            return
        self._tell("model round")
        self._rounds.limit(room)
        begin = time.perf_counter()
        self._model_round(due * self._settings.fl.every_intervals - 1)
        self._files.checkpoints.save(self._state, self._rounds)
        journal("model round", round=due, seconds=time.perf_counter() - begin)

    # ---- being seen ---------------------------------------------------------------------------

    def _note(self, t: int, faults: Mapping[int, str]) -> None:
        names = self._roster.names
        self._state.faults.extend((t, names[h], brief(fault)) for h, fault in faults.items())
        for h, fault in faults.items():
            journal("no usable reply", interval=t, household=names[h], why=brief(fault))

    def _tell(self, phase: str) -> None:
        """Write what is going on to the status file, for whoever looks."""
        state, online = self._state, self._roster.online()
        owed = {h: len(state.unread(h, state.t)) - (state.t > 0) for h in range(len(state.heard))}
        lag = self._clock.begins(state.t)
        write_json(
            self._folder.status,
            {
                "run": self._run,
                "phase": phase,
                "time": time.time(),
                "pid": os.getpid(),
                "interval": min(state.t, self._settings.intervals),
                "intervals": self._settings.intervals,
                "speed": self._clock.speed,
                "lag_s": None if math.isinf(lag) else max(time.time() - lag, 0.0),
                "round": self._round,
                "market_bytes_down": self._bytes[0],
                "market_bytes_up": self._bytes[1],
                "faults": len(state.faults),
                "last": self._last,
                "households": {
                    name: {
                        "online": h in online,
                        "joined": h in self._joined,
                        "settled": state.heard[h],
                        "owed": owed[h],
                    }
                    for h, name in enumerate(self._roster.names)
                },
            },
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
    if live is None or not (members or deployment.insecure):
        raise InputError(f"{folder.root}: no run begun, or nobody admitted")
    settings = folder.settings(None if deployment.insecure else len(members))
    start, clock = pd.Timestamp(live.start), Clock(live.anchor, live.speed)
    prices = _prices(folder, settings, start)
    if deployment.insecure:
        join = join_message(settings, live.run, start, prices, 0, deployment.ends)
        members = _claimed(grid, settings, join)
    roster = Roster(grid, members)
    checkpoints = Checkpoints(folder.run)
    write_whole(folder.run / "config.yaml", dump(settings))
    _await_households(roster, settings, clock)
    url = ledger_url(settings, folder.run)
    with Ledger(url, durable=True) as ledger:
        ledger.open_run(live.run, roster.names, start=start.isoformat())
        stored = ledger.state()
        state = Checkpoint.fresh(len(members)) if stored is None else Checkpoint.from_json(stored)
        model = checkpoints.load() or Checkpoint.fresh(len(members))
        rounds = open_rounds(settings, roster, checkpoints, model)
        # The newest settled line goes with the transaction; the file may have missed it.
        settled = sorted(t for t, line in state.lines.items() if "grid_import_kwh" in line)
        files = RunFiles(
            Lines(folder.run / INTERVALS, "interval", settled[0] if settled else state.t - 1),
            Lines(folder.run / ROUNDS, "interval", model.t),
            checkpoints,
        )
        for t in settled:
            files.intervals.write(state.lines.pop(t))
        coordinator = LiveCoordinator(
            roster, settings, live.run, start, prices, ledger, rounds, files, state,
            clock, folder, deployment,
        )  # fmt: skip
        if state.t <= settings.intervals:
            coordinator.run()
    if rounds is not None:
        checkpoints.save_model("final", rounds.arrays)


def _prices(folder: Folder, settings: Settings, start: pd.Timestamp) -> Prices:
    count = settings.intervals + settings.tariff.published_intervals
    if settings.tariff.source == "flat":
        return Prices(np.full(count, settings.tariff.retail), settings.tariff.feed_in)
    return Prices(read_tariff(folder.tariff, start, count), settings.tariff.feed_in)


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
    while len(online := roster.online()) < len(roster.names) and time.monotonic() < end:
        time.sleep(_NODE_POLL_S)
    journal("households connected", online=len(online), admitted=len(roster.names))
