"""Households in memory between messages, and caught up from their files when that is not enough.

A process that has served a household keeps it; one that has not, or that another has overtaken,
reads the household's own files. So messages may go to any process of the household's host, unless
its engine pins it to one: such a process alone answers for it, and writes its files less often.
"""

import json
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Context

from common.arrays import Floats, Ints
from common.config import Tariff
from common.market_rules import MICRO
from common.messages import Announcement, Join, Joined, NotJoined
from common.month_statement import digest, read_statement
from fl_client.deciding import DayAhead
from fl_client.household import Group
from fl_client.membership import Membership, membership
from fl_client.readings import Member
from fl_client.report import closing_report, month_report
from fl_client.secure_state import forget_sessions
from fl_client.state import State

if TYPE_CHECKING:
    from fl_client.learner import Learner

_KEPT = 4096
Key = tuple[str, ...]
"""The folders of the households of a session."""


class Session:
    """A group of households of one run, with its learner."""

    def __init__(
        self, members: Sequence[Membership], join: Join, *, since: int = 0, reach: int = 0
    ) -> None:
        self._members = members
        self.pinned = members[0].pinned
        settings = members[0].settings
        places = [
            Member(one.load, one.directory, one.durable, one.arrivals, one.home, one.steered)
            for one in members
        ]
        # Files of households that move between processes must tell all, always.
        every = settings.checkpoint_every if self.pinned else 1
        self.group = Group(places, settings, join, flush_every=every, since=since, reach=reach)
        newest = self.group.window.base + self.group.log.decided
        self.joined = [
            Joined(a.name, a.filled_values, a.real, a.source, newest) for a in self.group.about
        ]
        self.group.deciding.ask = self._forecast
        if settings.fl.enabled or settings.model.init:
            self.group.deciding.ask_net = self._net
        if settings.run.metrics == "all":
            self.group.closing_report = self._report
            self.group.month_report = partial(month_report, self.group)

    @cached_property
    def learner(self) -> "Learner":
        """The forecasting side; torch is imported when it is first asked for."""
        from fl_client.learner import Learner

        return Learner(self.group, self._members[0].settings, self._members[0].models)

    def catch_up(self) -> None:
        """Take over what another process has done for these households."""
        if self.pinned:
            return
        self.group.refresh()
        if "learner" in self.__dict__:
            self.learner.refresh()

    def _forecast(self, households: Ints, unknown: int, lag: int) -> DayAhead | None:
        return self.learner.day_ahead(households, unknown, lag)

    def _net(self, households: Ints, unknown: int, lag: int) -> Floats | None:
        return self.learner.net_ahead(households, unknown, lag)

    def _report(self, h: int) -> dict[str, float]:
        return closing_report(self.group, h, self._members[0].settings)


class Sessions:
    """The sessions of a process, at most ``most`` of those that are not pinned to it.

    A household is in one of them at most.
    """

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._sessions: OrderedDict[Key, Session] = OrderedDict()
        self._places: dict[str, tuple[Key, int]] = {}

    def join(self, request: Join, contexts: Sequence[Context]) -> list[Joined]:
        """Begin, or resume, a run for households that will step together. Raises InputError."""
        members = [membership(context) for context in contexts]
        since: list[int] = []
        for member, context in zip(members, contexts, strict=True):
            state = State(member.directory, durable=member.durable)
            state.set_join(json.dumps(vars(request)))
            if not member.durable:
                # A simulation plays rounds again that a killed one had begun.
                forget_sessions(member.directory)
            if member.durable:
                state.set_tariff(price_parts(member.settings.tariff))
                state.set_run_config(json.dumps(dict(context.run_config)))
                # What a real household has done is done: it goes on from there, whoever asks.
                # Who has done nothing in this run begins where the coordinator says.
                same = state.about().get("run") == request.run
                oldest = state.oldest() if same else None
                since.append(request.first if oldest is None else oldest)
                if oldest is not None:
                    request = replace(request, first=state.newest() + 1)
            state.close()
        for other in self._company(_key(members)):
            self._part(other, written=False)
        session = Session(members, request, since=max(since, default=0))
        self._keep(_key(members), session)
        return session.joined

    def open(self, contexts: Sequence[Context], t: int = 0) -> Session:
        """Return these households, together and as they are now, and able to decide ``t``.

        Those that stepped in other company are parted from it: each group is written to its files
        first, and its other members step alone from then on. Raises NotJoined where they never
        did.
        """
        members = [membership(context) for context in contexts]
        key = _key(members)
        session = self._sessions.get(key)
        if session is not None:
            session.catch_up()
            if session.group.window.holds(t):
                return session
        for other in self._company(key):
            self._part(other, written=True)
        session = _from_files(members, t)
        self._keep(key, session)
        return session

    def place(self, context: Context) -> tuple[Session, int]:
        """Return the session that a household is in, whatever its company, and its position."""
        member = membership(context)
        found = self._places.get(str(member.directory))
        if found is None:
            return self.open([context]), 0
        session = self._sessions[found[0]]
        session.catch_up()
        return session, found[1]

    def forget(self, directories: Collection[Path] | None = None) -> None:
        """Lose what is known of these households, all by default: as a killed process does."""
        lost = None if directories is None else {str(directory) for directory in directories}
        for key in list(self._sessions):
            if lost is None or not lost.isdisjoint(key):
                self._part(key, written=False)

    def _keep(self, key: Key, session: Session) -> None:
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        for h, one in enumerate(key):
            self._places[one] = key, h
        # A pinned household is nowhere else up to date.
        while len(self._sessions) > self._most and not session.pinned:
            self._part(next(iter(self._sessions)), written=True)

    def _company(self, key: Key) -> set[Key]:
        """Sessions that hold any of these households."""
        return {self._places[one][0] for one in key if one in self._places}

    def _part(self, key: Key, *, written: bool) -> None:
        """Forget a session; what only it knows is ``written`` first, or given up."""
        session = self._sessions.pop(key)
        if session.pinned and written:
            session.group.log.flush()
        session.group.log.close()
        for one in key:
            if self._places.get(one, (None,))[0] == key:
                del self._places[one]


HERE = Sessions()
"""The sessions of this process: one, whether messages come singly (app) or in batches (batch)."""


def price_parts(tariff: Tariff) -> dict[str, float]:
    """Charges beside the energy price, and those on local energy [currency per kWh, per day]."""
    local = tariff.local_parts
    parts = {f"local_{name}": micro / MICRO for name, micro in vars(local).items()}
    return {**vars(tariff.charges), **parts}


def _key(members: Sequence[Membership]) -> Key:
    return tuple(str(member.directory) for member in members)


def _from_files(members: Sequence[Membership], reach: int) -> Session:
    newest, oldest, request = [], [], ""
    for member in members:
        state = State(member.directory, durable=member.durable)
        stored = state.join()
        newest.append(state.newest())
        oldest.append(state.oldest())
        state.close()
        if stored is None:
            raise NotJoined(f"household {member.name} has not joined this run")
        request = stored
    # What all files hold is the present. A process killed while it wrote them leaves some ahead
    # of others; those repeat what the others have not kept.
    told = Join(**json.loads(request))
    since, first = 0, min(newest) + 1
    if members[0].durable:
        # Who has decided nothing yet begins where it was told to.
        begun = [t for t in oldest if t is not None]
        since = max(begun, default=told.first)
        first = first if begun else told.first
    return Session(members, replace(told, first=first), since=since, reach=reach)


def announce(told: Announcement, context: Context) -> bool:
    """Keep what this household has traded; False where it was told otherwise before.

    Raises NotJoined where it is not in that run.
    """
    member = membership(context)
    state = State(member.directory, durable=member.durable)
    try:
        if state.about().get("run") != told.run:
            raise NotJoined(f"household {member.name} has not joined run {told.run}")
        kept = state.announce(told.t, told.fill, told.allowance)
        return kept and (not told.statement or _keep_statement(state, member.name, told))
    finally:
        state.close()


def _keep_statement(state: State, name: str, told: Announcement) -> bool:
    """Keep a month's statement; False for one of others, or that does not follow what is kept."""
    said = read_statement(told.statement)
    if (said.run, said.household) != (told.run, name):
        return False
    return state.keep_statement(said.month, told.statement, digest(told.statement), said.before)
