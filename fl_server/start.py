"""Before the first interval: who takes part, what the tariff is, which model they start with."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from flwr.app import ConfigRecord, Message, MessageType
from flwr.serverapp import Grid

from common.config import Settings, dump
from common.data.source import source_of
from common.data.span import Source
from common.energy.tariff import end_value
from common.errors import InputError
from common.files import write_json, write_whole
from common.messages import JOIN, Join, Joined, MessageError, encode_arrays, read_reply
from fl_server.checkpoint import Checkpoint, Checkpoints
from fl_server.coordinator import Coordinator, Prices, RunFiles
from fl_server.exchange import exchange
from fl_server.ledger import Ledger
from fl_server.privacy import Privacy
from fl_server.roster import Roster
from fl_server.rounds import Rounds
from fl_server.run_files import INTERVALS, REPORTS, ROUNDS, Lines, ledger_url
from fl_server.strategy import check_privacy, make_strategy

_NODE_POLL_S = 0.05


def run(grid: Grid, settings: Settings, directory: Path, *, durable: bool = True) -> None:
    """Run a community on ``grid``; everything it leaves behind is in ``directory``.

    ``durable``: what is booked survives a power cut; a simulation starts over instead.
    Resumes from the directory's checkpoint where it holds one. Raises InputError for settings or
    households that do not fit, RuntimeError where households stay away.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = source_of(settings)
    start = source.start()
    prices = published_prices(settings, source, start)
    checkpoints = Checkpoints(directory)
    state = checkpoints.load() or Checkpoint.fresh(settings.run.households)
    name = settings.digest()
    join = join_message(settings, name, start, prices, state.t)
    roster = _gather(grid, settings, join)
    rounds = open_rounds(settings, roster, checkpoints, state)
    write_whole(directory / "config.yaml", dump(settings))
    url = ledger_url(settings, directory)
    with Ledger(url, durable=durable) as ledger:
        ledger.open_run(name, roster.names, start=start.isoformat())
        ledger.truncate_from(state.t)
        files = RunFiles(
            Lines(directory / INTERVALS, "interval", state.t - 1),
            Lines(directory / ROUNDS, "interval", state.t),
            checkpoints,
        )
        if rounds is not None:
            # Everyone forecasts with the model of the start until the first round is over.
            rounds.broadcast(
                state.t // settings.fl.every_intervals, ConfigRecord({"interval": state.t})
            )
        coordinator = Coordinator(
            roster, settings, name, start, prices, ledger, rounds, files, state
        )
        reports = coordinator.run()
    if rounds is not None:
        checkpoints.save_model("final", rounds.arrays)
    write_json(
        directory / REPORTS,
        {
            "start": start.isoformat(),
            "retail": prices.retail[: settings.intervals].tolist(),
            "joined": {name: vars(one) for name, one in sorted(roster.joined.items())},
            "households": reports,
            "faults": state.faults,
        },
    )


def published_prices(settings: Settings, source: Source, start: pd.Timestamp) -> Prices:
    """The published tariff. A simulation takes it from the data's price column, which is public."""
    tariff, intervals = settings.tariff, settings.intervals
    count = intervals + tariff.published_intervals
    if tariff.source == "flat":
        return Prices(np.full(count, tariff.retail), tariff.feed_in)
    home = source.load(source.names()[0])
    row = home.row(start)
    retail = home.frame["price"].to_numpy(np.float64)[: row + count]
    if len(retail) < row + intervals:
        raise InputError(f"household {home.name}: prices end before the run does")
    # Beyond the data the same half hour of the day before is what one would expect.
    while len(retail) < row + count:
        retail = np.append(retail, retail[max(len(retail) - 48, 0)])
    return Prices(retail[row:], tariff.feed_in)


def join_message(
    settings: Settings,
    name: str,
    start: pd.Timestamp,
    prices: Prices,
    first: int,
    ends: bool = True,
) -> Join:
    """What households are told of the run; stored energy has a value at its end, if it ``ends``."""
    battery = settings.battery_spec
    known = prices.retail[: settings.intervals]
    end = end_value(battery, known[~np.isnan(known)], prices.feed_in)
    return Join(
        run=name,
        start=start.isoformat(),
        intervals=settings.intervals,
        first=first,
        ends=ends,
        shortfall_price=end.shortfall_price,
        surplus_price=end.surplus_price,
    )


def _gather(grid: Grid, settings: Settings, join: Join) -> "JoinedRoster":
    """Wait for the nodes, ask each to join, and return those that did."""
    expected = settings.run.households
    end = time.monotonic() + settings.run.node_deadline_s
    while len(nodes := list(grid.get_node_ids())) < expected:
        if time.monotonic() > end:
            raise RuntimeError(f"{len(nodes)} of {expected} households connected in time")
        time.sleep(_NODE_POLL_S)
    messages = [Message(join.encode(), node, f"{MessageType.QUERY}.{JOIN}") for node in nodes]
    joined: dict[int, Joined] = {}
    for reply in exchange(grid, messages, settings.run.node_deadline_s):
        try:
            joined[reply.metadata.src_node_id] = read_reply(reply, Joined.decode)
        except MessageError as error:
            raise RuntimeError(f"a household could not join: {error}") from None
    if len(joined) < len(nodes):
        raise RuntimeError(f"{len(nodes) - len(joined)} households did not answer in time")
    return JoinedRoster(grid, joined)


class JoinedRoster(Roster):
    """A roster that keeps what each household said when it joined."""

    def __init__(self, grid: Grid, joined: dict[int, Joined]) -> None:
        super().__init__(grid, {node: one.name for node, one in joined.items()})
        self.joined = {one.name: one for one in joined.values()}


def open_rounds(
    settings: Settings, roster: Roster, checkpoints: Checkpoints, state: Checkpoint
) -> Rounds | None:
    """The federated rounds of a run, as its checkpoint left them; None without learning."""
    fl, run_ = settings.fl, settings.run
    if not fl.enabled:
        return None
    # Only a coordinator that trains a model needs torch.
    from fl_server.initial import initial_weights

    strategy = make_strategy(
        fl.strategy,
        fl.strategy_options,
        fraction_train=fl.fraction_train,
        fraction_evaluate=fl.fraction_evaluate,
        seed=run_.seed,
    )
    arrays = encode_arrays(initial_weights(settings.model.preset, settings.model.init, run_.seed))
    limit = int(fl.max_update_mb * 1e6)
    private = fl.privacy
    privacy = None
    if private.clip is not None:
        privacy = Privacy(private.clip, private.noise_multiplier, private.delta)
    check_privacy(fl.strategy, private=privacy is not None)
    rounds = Rounds(
        strategy,
        roster,
        arrays,
        run_.seed,
        limit,
        run_.reply_deadline_s,
        fl.compression,
        privacy,
        fl.compression_down,
        fl.min_replies,
    )
    if state.t > 0:
        checkpoints.restore(state, rounds)
    return rounds
