"""Households in memory between messages, and caught up from their files when that is not enough.

A process that has served a household keeps it; one that has not, or that another has overtaken,
reads the household's own files. So messages may go to any process of the household's host.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from flwr.app import Context

from common.messages import Announcement, Join, Joined
from fl_client.household import DayAhead, Group, Ints, Member
from fl_client.membership import Membership, membership
from fl_client.report import closing_report
from fl_client.state import State

if TYPE_CHECKING:
    from fl_client.learner import Learner

_KEPT = 4096
_sessions: OrderedDict[tuple[str, ...], "Session"] = OrderedDict()


class Session:
    """A group of households of one run, with its learner."""

    def __init__(self, members: Sequence[Membership], join: Join) -> None:
        self._members = members
        self._pinned = members[0].settings.run.engine != "flower"
        data = [member.load() for member in members]
        places = [
            Member(one, member.directory, member.durable)
            for one, member in zip(data, members, strict=True)
        ]
        self.group = Group(places, members[0].settings, join)
        newest = self.group.decided
        self.joined = [Joined(d.name, d.filled_values, d.real, d.source, newest) for d in data]
        self.group.forecast = self._forecast
        if members[0].settings.run.metrics == "all":
            self.group.closing_report = self._report

    @cached_property
    def learner(self) -> "Learner":
        """The forecasting side; torch is imported when it is first asked for."""
        from fl_client.learner import Learner

        return Learner(self.group, self._members[0].settings, self._members[0].models)

    def catch_up(self) -> None:
        """Take over what another process has done for these households."""
        if self._pinned:
            return
        self.group.refresh()
        if "learner" in self.__dict__:
            self.learner.refresh()

    def _forecast(self, households: Ints, unknown: int, lag: int) -> DayAhead | None:
        return self.learner.day_ahead(households, unknown, lag)

    def _report(self, h: int) -> dict[str, float]:
        return closing_report(self.group, h, self._members[0].settings)


def _key(members: Sequence[Membership]) -> tuple[str, ...]:
    return tuple(str(member.directory) for member in members)


def join(request: Join, context: Context) -> Joined:
    """Begin, or resume, a run for one household. Raises InputError."""
    return join_all(request, [context])[0]


def join_all(request: Join, contexts: Sequence[Context]) -> list[Joined]:
    """Begin, or resume, a run for households that will step together."""
    members = [membership(context) for context in contexts]
    for member in members:
        state = State(member.directory, durable=member.durable)
        state.set_join(json.dumps(vars(request)))
        if member.durable:
            # What a real household has done is done: it goes on from there, whoever asks.
            same = state.about().get("run") == request.run
            request = replace(request, first=state.newest() + 1 if same else 0)
        state.close()
    session = Session(members, request)
    _keep(_key(members), session)
    return session.joined


def open_session(contexts: Sequence[Context]) -> Session:
    """Return these households as they are now. Raises KeyError where they never joined."""
    members = [membership(context) for context in contexts]
    key = _key(members)
    session = _sessions.get(key)
    if session is None:
        state = State(members[0].directory, durable=members[0].durable)
        stored, newest = state.join(), state.newest()
        state.close()
        if stored is None:
            raise KeyError(f"household {members[0].name} has not joined this run")
        # What the files hold is the present: nothing is dropped.
        session = Session(members, Join(**{**json.loads(stored), "first": newest + 1}))
        _keep(key, session)
    else:
        session.catch_up()
    return session


def announce(told: Announcement, context: Context) -> bool:
    """Keep what this household has traded; False where it was told otherwise before.

    Raises KeyError where it is not in that run.
    """
    member = membership(context)
    state = State(member.directory, durable=member.durable)
    try:
        if state.about().get("run") != told.run:
            raise KeyError(f"household {member.name} has not joined run {told.run}")
        return state.announce(told.t, told.fill)
    finally:
        state.close()


def _keep(key: tuple[str, ...], session: Session) -> None:
    _sessions[key] = session
    _sessions.move_to_end(key)
    while len(_sessions) > _KEPT:
        _sessions.popitem(last=False)
