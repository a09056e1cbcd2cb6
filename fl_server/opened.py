"""A run, opened: ledger, files, model and coordinator as the last process left them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.cadence import HALF_HOUR
from common.config import Home, Settings, dump
from common.files import write_json, write_whole
from common.messages import Joined, encode_arrays
from fl_server.books import Books
from fl_server.checkpoint import Checkpoint, Checkpoints
from fl_server.coordinator import Coordinator
from fl_server.learning import Learning
from fl_server.ledger import Ledger
from fl_server.mailbox import Mailbox
from fl_server.prices import Prices
from fl_server.privacy import Privacy
from fl_server.roster import Roster
from fl_server.rounds import Rounds
from fl_server.run_files import INTERVALS, REPORTS, ROUNDS, Lines, ledger_url
from fl_server.strategy import (
    check_asynchronous,
    check_privacy,
    check_secure,
    make_strategy,
)


@dataclass(frozen=True)
class Run:
    """An open run. ``learning`` is None without a federation; ``model_t``: intervals that were
    over when the stored model was written."""

    settings: Settings
    directory: Path
    start: pd.Timestamp
    prices: Prices
    ledger: Ledger
    coordinator: Coordinator
    learning: Learning | None
    checkpoints: Checkpoints
    model_t: int
    intervals: Lines

    @property
    def state(self) -> Checkpoint:
        """Where the run stands."""
        return self.coordinator.state

    def save(self) -> None:
        """Write a checkpoint."""
        learning = self.learning
        proof = {"ledger": self.ledger.head, "intervals": self.intervals.digest}
        if learning is not None:
            proof["rounds"] = learning.lines.digest
        self.checkpoints.save(self.state, None if learning is None else learning.rounds, proof)

    def write_reports(
        self, joined: Mapping[str, Joined], reports: Mapping[int, Mapping[str, float]]
    ) -> None:
        """Keep what the households said of themselves, ``reports`` by their index."""
        names = self.coordinator.mailbox.roster.names
        intervals = min(self.settings.intervals, self.state.t)
        write_json(
            self.directory / REPORTS,
            {
                "start": self.start.isoformat(),
                "tariffs": {
                    "retail": self.prices.retail[:, :intervals].tolist(),
                    "feed_in": self.prices.feed_in[:, :intervals].tolist(),
                    "of": {name: self.prices.tariff(h) for h, name in enumerate(names)},
                },
                "joined": {name: vars(one) for name, one in sorted(joined.items())},
                "households": {names[h]: report for h, report in sorted(reports.items())},
                "faults": self.state.faults,
            },
        )


@contextmanager
def open_run(
    *,
    settings: Settings,
    directory: Path,
    name: str,
    start: pd.Timestamp,
    prices: Prices,
    home: Callable[[str], Home],
    mailbox: Mailbox,
    durable: bool,
    state_with_postings: bool,
) -> Iterator[Run]:
    """Open the run ``name`` in ``directory``, new or as it was left; its final model is written
    when the block ends well.

    ``home``: what belongs to a household of this name.
    ``durable``: what is booked survives a power cut. ``state_with_postings``: the run goes on
    where the ledger ends; otherwise at its newest checkpoint, and what the ledger and the files
    have beyond that is forgotten, to be played again. Raises InputError.
    """
    roster = mailbox.roster
    checkpoints = Checkpoints(directory, durable=durable)
    stored = checkpoints.load() or Checkpoint.fresh(len(roster.names))
    rounds = _open_rounds(settings, name, roster, checkpoints, stored)
    write_whole(directory / "config.yaml", dump(settings), durable=durable)
    with Ledger(ledger_url(settings, directory), durable=durable) as ledger:
        ledger.open_run(
            name,
            roster.names,
            start=start.isoformat(),
            interval_minutes=settings.cadence.minutes,
            local=settings.tariff.local_parts,
        )
        state = stored
        if state_with_postings:
            text = ledger.state()
            fresh = Checkpoint.fresh(len(roster.names))
            state = fresh if text is None else Checkpoint.from_json(text)
            state.grow(len(roster.names))
        else:
            ledger.truncate_from(state.t)
        # The newest settled line goes with the transaction; the file may have missed it.
        settled = sorted(t for t, line in state.lines.items() if "grid_import_kwh" in line)
        first = settled[0] if settled else state.t - 1
        with (
            closing(Lines(directory / INTERVALS, "interval", first)) as intervals,
            closing(Lines(directory / ROUNDS, "interval", stored.t)) as lines,
        ):
            for t in settled:
                intervals.write(state.lines.pop(t))
            books = Books(ledger, intervals, state, state_with_postings=state_with_postings)
            coordinator = Coordinator(
                settings=settings,
                run=name,
                start=start,
                prices=prices,
                home=home,
                mailbox=mailbox,
                books=books,
                state=state,
            )
            learning = None
            if rounds is not None:
                learning = Learning(rounds, lines, settings, start)
            yield Run(
                settings,
                directory,
                start,
                prices,
                ledger,
                coordinator,
                learning,
                checkpoints,
                stored.t,
                intervals,
            )
    if rounds is not None:
        checkpoints.save_model("final", rounds.arrays)


def _open_rounds(
    settings: Settings, name: str, roster: Roster, checkpoints: Checkpoints, state: Checkpoint
) -> Rounds | None:
    """The federated rounds of a run, as its checkpoint left them; None without learning."""
    fl, run = settings.fl, settings.run
    if not fl.enabled:
        return None
    # Only a coordinator that trains a model needs torch.
    from fl_server.initial import initial_weights

    strategy = make_strategy(
        fl.strategy,
        fl.strategy_options,
        fraction_train=fl.fraction_train,
        fraction_evaluate=fl.fraction_evaluate,
        seed=run.seed,
    )
    private = fl.privacy
    privacy = None
    compression = settings.update_compression
    if private.clip is not None:
        privacy = Privacy(private.clip, private.noise_multiplier, private.delta)
    check_privacy(fl.strategy, private=privacy is not None)
    if fl.secure_aggregation:
        check_secure(fl.strategy, strategy, compression)
    check_asynchronous(
        fl.strategy,
        strategy,
        private=privacy is not None,
        compression_down=fl.compression_down,
        min_replies=fl.min_replies,
    )
    rounds = Rounds(
        strategy,
        roster,
        encode_arrays(initial_weights(settings.model.preset, settings.model.init, run.seed)),
        seed=run.seed,
        max_update_bytes=int(fl.max_update_mb * 1e6),
        deadline_s=run.reply_deadline_s,
        compression=compression,
        privacy=privacy,
        compression_down=fl.compression_down,
        min_replies=fl.min_replies,
        history=run.history_days * HALF_HOUR.per_day,
        cadence=settings.cadence,
        local_steps=fl.local_steps,
        secure_run=name if fl.secure_aggregation else None,
        late_s=fl.late_hours * 3600.0,
    )
    if state.t > 0:
        checkpoints.restore(state, rounds)
    return rounds
