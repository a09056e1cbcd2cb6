"""Before the first interval: who takes part, what the tariff is, which model they start with."""

import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from common.config import Settings
from common.data.source import lasting, source_of
from common.errors import RunError
from common.messages import JOIN, Join, Joined, MessageError, read_reply
from fl_server.checkpoint import Checkpoints
from fl_server.exchange import exchange
from fl_server.mailbox import Mailbox
from fl_server.opened import Run, open_run
from fl_server.prices import published_prices
from fl_server.roster import Roster

_NODE_POLL_S = 0.05


def run(grid: Grid, settings: Settings, directory: Path, *, durable: bool = True) -> None:
    """Run a community on ``grid``; everything it leaves behind is in ``directory``.

    ``durable``: what is booked survives a power cut; a simulation starts over instead. Without a
    number of days it runs over all the data there is.
    Resumes from the directory's checkpoint where it holds one. Raises InputError for settings or
    households that do not fit, RunError where households stay away, and in a simulation where one
    is lost on the way.
    """
    directory.mkdir(parents=True, exist_ok=True)
    settings = lasting(settings)
    source = source_of(settings)
    start = source.start()
    prices = published_prices(settings, source, start)
    stored = Checkpoints(directory).load()
    name = settings.digest()
    join = join_message(settings, name, start, 0 if stored is None else stored.t)
    joined = gather(grid, settings, join)
    roster = Roster(grid, {node: one.name for node, one in joined.items()})
    with open_run(
        settings=settings,
        directory=directory,
        name=name,
        start=start,
        prices=prices,
        home=lambda one: settings.home(one, source.block(one)),
        mailbox=Mailbox(roster, lambda: settings.run.reply_deadline_s, lossless=not durable),
        durable=durable,
        state_with_postings=False,
    ) as opened:
        reports = _run_to_the_end(opened)
    opened.write_reports({one.name: one for one in joined.values()}, reports)


def _run_to_the_end(run: Run) -> dict[int, Mapping[str, float]]:
    """Run from where the run stands; returns the households' closing reports by their index."""
    state, learning, settings = run.state, run.learning, run.settings
    if learning is not None:
        # Everyone forecasts with the model of the start until the first round is over.
        learning.broadcast(learning.due(state.t), state.t)
    while state.t < settings.intervals:
        run.coordinator.interval(state.t)
        after = state.t + 1
        if learning is not None and after % settings.round_every == 0:
            learning.round(learning.due(after))
        state.t = after
        if after % settings.checkpoint_every == 0:
            run.save()
    answers = run.coordinator.ask(settings.intervals, closing=True)
    run.coordinator.close(answers, settings.intervals)
    return answers.reports


def join_message(
    settings: Settings, name: str, start: pd.Timestamp, first: int, ends: bool = True
) -> Join:
    """What households are told of the run; stored energy has a value at its end, if it ``ends``."""
    return Join(
        run=name, start=start.isoformat(), intervals=settings.intervals, first=first, ends=ends
    )


def gather(grid: Grid, settings: Settings, join: Join) -> dict[int, Joined]:
    """Wait for the nodes, ask each to join, and return what they said by node."""
    expected = settings.run.households
    end = time.monotonic() + settings.run.node_deadline_s
    while len(nodes := list(grid.get_node_ids())) < expected:
        if time.monotonic() > end:
            raise RunError(f"{len(nodes)} of {expected} households connected in time")
        time.sleep(_NODE_POLL_S)
    messages = [Message(join.encode(), node, f"{MessageType.QUERY}.{JOIN}") for node in nodes]
    joined: dict[int, Joined] = {}
    for reply in exchange(grid, messages, settings.run.node_deadline_s):
        try:
            joined[reply.metadata.src_node_id] = read_reply(reply, Joined.decode)
        except MessageError as error:
            raise RunError(f"a household could not join: {error}") from None
    if len(joined) < len(nodes):
        raise RunError(f"{len(nodes) - len(joined)} households did not answer in time")
    return joined
