"""One cell of the grid: a strategy, a dial and a seed, from the first round to the last."""

import contextlib
import gc
import logging
import os
import resource
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import ConfigRecord

from common.cadence import HALF_HOUR
from common.config import Training
from common.errors import InputError
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.transformer import build_model
from common.forecast.windows import pool
from common.messages import encode_arrays
from common.model_messages import Weights
from fl_client.training import local_update
from fl_server.initial import initial_weights
from fl_server.privacy import Privacy, Spent
from fl_server.roster import Roster
from fl_server.rounds import RoundResult, Rounds
from fl_server.strategy import make_strategy
from fl_server.strategy.asynchronous import STALENESS, Asynchronous
from simulations.benchmarks.strategies.clock import ClockGrid
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.homes import Home, homes_of
from simulations.benchmarks.strategies.households import (
    ERRORS,
    Errors,
    Households,
    day_errors,
    measure,
)
from simulations.benchmarks.strategies.money import share_of_optimum
from simulations.benchmarks.strategies.setup import (
    UNTRAINED,
    Cell,
    Setup,
    check_together,
    options_of,
)
from simulations.benchmarks.strategies.stopping import Keeper
from simulations.engine.loop import LoopGrid, server_context

Row = dict[str, Any]
Cost = dict[str, Any]
"""Seconds, memory, and why there is no result."""
_FLOAT = 4  # bytes
Model = tuple[dict[str, Errors], dict[str, Weights]]
"""What a round's model is to each home: its errors, and the weights it forecasts with."""


@dataclass
class Account:
    """What has been spent since the first round."""

    bytes_up: int = 0
    bytes_down: int = 0
    messages: int = 0
    dropped: int = 0
    train_loss: float = float("nan")
    spent: Spent | None = None
    simulated_s: float = float("nan")
    stale: float = 0.0
    used: int = 0
    failed_rounds: int = 0
    moved: bool = False
    failure: str = ""

    @property
    def staleness(self) -> float:
        """Mean over the updates that an asynchronous strategy has used; nan for others."""
        return self.stale / self.used if self.used else float("nan")

    def add(self, result: RoundResult) -> None:
        """Add what a round has cost."""
        self.bytes_up += result.screening.bytes_up
        self.bytes_down += result.bytes_down
        self.messages += 2 * result.sampled
        self.dropped += sum(result.screening.dropped.values())
        self.spent = result.spent
        told = {} if result.train is None else result.train
        loss, stale = told.get("train_loss"), told.get(STALENESS)
        self.train_loss = float(loss) if isinstance(loss, int | float) else float("nan")
        if isinstance(stale, int | float):
            self.stale += float(stale) * result.screening.accepted
            self.used += result.screening.accepted


def _round(results: Sequence[RoundResult], account: Account, moved: bool) -> None:
    """Add the results of a round; ``moved``: they have made a new model.

    A strategy that raises leaves the model as it was, in a benchmark as in a deployment: a round of
    that kind is counted, for its error says nothing of the strategy.
    """
    for result in results:
        account.add(result)
    told = [result.failed for result in results if result.failed is not None]
    account.failed_rounds += bool(told) or not moved
    account.moved |= moved
    account.failure = told[-1] if told else account.failure


def run_cell(cell: Cell, setup: Setup) -> tuple[list[Row], Cost]:
    """Run a cell. Returns its rows, a function of the arguments alone, and what it cost to run.

    A strategy that never made a model has no errors after round 0; the cost then says in
    ``failure`` what it raised. Raises InputError naming the cell where anything else fails in it,
    the user's own code among that.
    """
    try:
        return _run(cell, setup)
    except InputError as error:
        raise InputError(f"cell {cell.key}: {error}") from error
    except OSError:
        raise  # a full disk is no mistake of the cell's
    except Exception as error:  # strategies, attacks and models of the user's own
        at = traceback.extract_tb(error.__traceback__)[-1]
        why = " ".join(f"{type(error).__name__}: {error}".split())
        where = f"{Path(at.filename).name}, line {at.lineno}"
        raise InputError(f"cell {cell.key}: {why} ({where})") from error


def _run(cell: Cell, setup: Setup) -> tuple[list[Row], Cost]:
    torch.set_num_threads(1)
    _prepare_process()
    begin, cpu = time.perf_counter(), time.process_time()
    _reset_peak()
    homes = homes_of(
        setup.data,
        setup.households,
        setup.timezone,
        setup.preset,
        setup.train_days,
        setup.test_days,
        cell.dial.data_only(),
        cell.seed,
        setup.before_seeds,
        setup.check_days,
    )
    if cell.entry.reference:
        rows, failure = _reference(cell, setup, homes), ""
    else:
        rows, failure = _strategy(cell, setup, homes)
    cost = {
        "wall_s": time.perf_counter() - begin,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": _peak_mb(),
        "failure": failure,
    }
    return rows, cost


@lru_cache(maxsize=1)
def _prepare_process() -> None:
    """Once a process: Flower's strategies log every round, and some collect garbage every reply."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    gc.freeze()  # what is imported by now is not searched again and again


def _lengths(cell: Cell, setup: Setup) -> tuple[int, int]:
    steps = cell.entry.local_steps or cell.dial.local_steps or setup.local_steps
    return cell.dial.rounds or setup.rounds, steps


def _patience(cell: Cell, setup: Setup, homes: Sequence[Home]) -> int | None:
    """Rounds without a better error; None: all rounds are run, and the last model counts.

    So it is where no coordinator can go by them (``Dial.tells_errors``).
    """
    chosen = any(home.before.check is not None for home in homes)
    return setup.patience if chosen and cell.dial.tells_errors else None


def _since(dial: Dial, rounds: int) -> int:
    """The first round that counts: the first weights are no result, and homes that change are as
    they will be from then on."""
    return dial.drift_round if dial.drift_share and dial.drift_round <= rounds else 1


def _check_error(errors: dict[str, Errors]) -> float:
    """Mean over the homes that have days to choose by; nan where none has."""
    told = [one["check_nrmse"] for one in errors.values() if not np.isnan(one["check_nrmse"])]
    return float(np.mean(told)) if told else float("nan")


def _training(cell: Cell, setup: Setup) -> Training:
    return Training.model_validate(
        {
            "batch_size": setup.batch_size,
            "learning_rate": cell.entry.learning_rate or setup.learning_rate,
            "optimiser": setup.optimiser,
            "device": "cpu",
        }
    )


@contextlib.contextmanager
def _seeded_torch() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _strategy(cell: Cell, setup: Setup, homes: list[Home]) -> tuple[list[Row], str]:
    dial, names = cell.dial, [home.name for home in homes]
    rounds_, steps = _lengths(cell, setup)
    asked = int(np.ceil(dial.participation * len(homes) - 1e-9))
    strategy = make_strategy(
        cell.entry.name,
        options_of(cell.entry, asked),
        fraction_train=dial.participation,
        fraction_evaluate=1.0,
        seed=cell.seed,
    )
    privacy = None
    if dial.privacy_clip is not None:
        privacy = Privacy(dial.privacy_clip, dial.privacy_noise)
    check_together(cell.entry, strategy, dial)
    asynchronous = isinstance(strategy, Asynchronous)
    measured = setup.measured(rounds_)
    arrays = encode_arrays(initial_weights(setup.preset, None, cell.seed))
    rows: list[Row] = []
    account = Account()
    with tempfile.TemporaryDirectory(prefix="fedwatt-") as home_files, _seeded_torch():
        households = Households(
            homes,
            dial,
            setup.preset,
            _training(cell, setup),
            steps,
            cell.seed,
            Path(home_files),
            measured,
        )
        server_context(1, {})
        loop = LoopGrid(households.app(), len(homes), {}, 1)
        named = dict(zip(loop.get_node_ids(), names, strict=True))
        clock = ClockGrid(loop, dial, cell.seed, named, steps, rush=asynchronous)
        roster = Roster(clock, named)
        rounds = Rounds(
            strategy,
            roster,
            arrays,
            seed=cell.seed,
            max_update_bytes=2**31,
            deadline_s=0.0,  # the clock says when a round is over
            compression=dial.compression,
            privacy=privacy,
            compression_down=dial.compression_down,
        )
        _, account.bytes_down, _ = rounds.broadcast(0, ConfigRecord())
        households.check()
        account.messages, account.simulated_s = 2 * len(homes), 0.0
        keeper: Keeper[Model] = Keeper(_patience(cell, setup, homes), _since(dial, rounds_))
        rows += _measured(cell, 0, homes, households, account, keeper)
        number = came = 0
        for round_ in range(1, rounds_ + 1):
            before = rounds.arrays
            results: list[RoundResult] = []
            # Rounds of an asynchronous strategy have as many updates as those of others.
            while came < round_ * asked if asynchronous else not results:
                number += 1
                households.round_of[number] = round_
                results.append(rounds.train(number, ConfigRecord()))
                households.check()
                came += results[-1].screening.received
            _round(results, account, moved=rounds.arrays is not before)
            account.bytes_down += rounds.broadcast(number, ConfigRecord())[1]
            households.check()
            account.messages += 2 * len(homes)
            account.simulated_s = clock.now_s
            account.bytes_up += clock.late_bytes
            clock.late_bytes = 0
            if round_ in measured:
                rows += _measured(cell, round_, homes, households, account, keeper)
                if keeper.over(round_):
                    break
        errors, weights = _kept(keeper)
        last = dict.fromkeys(names, Last(keeper.round, round_))
        rows = [row for row in rows if row["round"] < rounds_]
        for after in _still_to_say(measured, round_):
            rows += _rows(cell, after, homes, errors, households.malicious, account, last)
        if not account.moved:
            for row in rows:
                # The first weights are no result of the strategy's.
                row |= dict.fromkeys(ERRORS, float("nan")) if row["round"] else {}
        _add_money(rows, cell, setup, rounds_, weights)
    return rows, "" if account.moved else account.failure


def _measured(
    cell: Cell,
    round_: int,
    homes: list[Home],
    households: Households,
    account: Account,
    keeper: Keeper[Model],
) -> list[Row]:
    """Rows of a round, whose model is kept where it is the best so far."""
    missing = [home.name for home in homes if (round_, home.name) not in households.errors]
    if missing:
        raise InputError(f"round {round_}: nobody has sent {missing[0]} the model to measure")
    errors = {home.name: households.errors[round_, home.name] for home in homes}
    keeper.see(round_, _check_error(errors), (errors, dict(households.forecasting)))
    return _rows(cell, round_, homes, errors, households.malicious, account)


def _still_to_say(measured: frozenset[int], run: int) -> list[int]:
    """Rounds that the model kept stands for: those after the end of the run, and the last one."""
    last = max(measured)
    return sorted(round_ for round_ in measured if round_ > run or round_ == last)


def _kept(keeper: Keeper[Model]) -> Model:
    assert keeper.state is not None  # round 0 at the least
    return keeper.state


@dataclass(frozen=True)
class Last:
    """Which round's model a home has, and how many were run. Once a run is over, rows of all rounds
    to come are those of the model that is kept: curves over seeds are means over all of them."""

    kept: int
    run: int


def _rows(
    cell: Cell,
    round_: int,
    homes: list[Home],
    errors: dict[str, Errors],
    malicious: set[str],
    account: Account,
    last: dict[str, Last] | None = None,
) -> list[Row]:
    ends = last or dict.fromkeys(errors, Last(round_, round_))
    return [
        {
            "strategy": cell.entry.text,
            "dial": cell.dial_name,
            "seed": cell.seed,
            "household": home.name,
            "round": round_,
            "malicious": home.name in malicious,
            **errors[home.name],
            "kept_round": ends[home.name].kept,
            "rounds_run": ends[home.name].run,
            "train_loss": account.train_loss,
            "bytes_up": account.bytes_up,
            "bytes_down": account.bytes_down,
            "messages": account.messages,
            "dropped": account.dropped,
            "failed_rounds": account.failed_rounds,
            "epsilon": account.spent.epsilon if account.spent else float("nan"),
            "epsilon_server": account.spent.epsilon_server if account.spent else float("nan"),
            "share_of_optimum": float("nan"),
            "simulated_s": account.simulated_s,
            "staleness": account.staleness,
            "source": home.source,
            "newcomer": home.newcomer,
        }
        for home in homes
    ]


def _reference(cell: Cell, setup: Setup, homes: list[Home]) -> list[Row]:
    """The table's references, measured in the same rounds.

    ``local-only`` trains each home's own model for the steps it would take in the federation, and
    stops it by itself, or where a home has no days to choose by when the others' median does;
    ``centralised`` trains one model on all windows pooled, with as many steps in all as the homes
    take together. Its bytes are those of the readings it needs.
    """
    name = cell.entry.name
    if name in UNTRAINED:
        return _untrained(cell, setup, homes)
    rounds_, steps = _lengths(cell, setup)
    measured = setup.measured(rounds_)
    training = _training(cell, setup)
    account = Account()
    if name == "centralised":
        known = (setup.check_days + setup.test_days) * HALF_HOUR.per_day
        readings = sum(len(home.before.train) + known for home in homes)
        account.bytes_up = readings * 3 * _FLOAT  # load, price, temperature
    alone = name == "local-only"
    groups = [[home] for home in homes] if alone else [homes]
    since = _since(cell.dial, rounds_)
    rows: list[Row] = []
    with _seeded_torch():
        model = build_model(setup.preset)
        start = initial_weights(setup.preset, None, cell.seed)
        runs = [
            _Centre(group, start, Keeper(_patience(cell, setup, group), since)) for group in groups
        ]
        choosing = [one for one in runs if one.keeper.patience is not None]
        for round_ in range(rounds_ + 1):
            for one in runs:
                if round_ == 0 or one.keeper.over(one.run):
                    continue
                load_weights(model, one.weights)
                local_update(
                    model,
                    pool([home.phase(round_).train for home in one.homes]),
                    training,
                    steps=steps * len(one.homes),
                    seed=cell.seed,
                    household=one.homes[0].name if alone else "pooled",
                    round_=round_,
                )
                one.weights = weights_of(model)
            if round_ not in measured:
                continue
            errors: dict[str, Errors] = {}
            for one in runs:
                if one.keeper.over(one.run):
                    errors |= _kept(one.keeper)[0]
                    continue
                load_weights(model, one.weights)
                own = {h.name: measure(model, h, round_, cell.dial.attack_hour) for h in one.homes}
                errors |= own
                one.run = round_
                told: Model = own, dict.fromkeys(own, one.weights)
                one.keeper.see(round_, _check_error(own), told)
                if one.keeper.patience is None and choosing:
                    one.seen[round_] = told  # which of them it goes by is known at the end
            ends = {
                home.name: Last(one.keeper.round if one.run < round_ else round_, one.run)
                for one in runs
                for home in one.homes
            }
            rows += _rows(cell, round_, homes, errors, set(), account, ends)
            if choosing and all(one.keeper.over(one.run) for one in choosing):
                break
        chosen = sorted(one.keeper.round for one in choosing)
        kept: dict[str, Errors] = {}
        weights: dict[str, Weights] = {}
        last: dict[str, Last] = {}
        for one in runs:
            if chosen and one.keeper.patience is None:
                one.keeper.round = chosen[len(chosen) // 2]
                one.keeper.state = one.seen[one.keeper.round]
            own, best = _kept(one.keeper)
            kept |= own
            weights |= best
            last |= dict.fromkeys(own, Last(one.keeper.round, one.run))
        rows = [row for row in rows if row["round"] < rounds_]
        for after in _still_to_say(measured, round_):
            rows += _rows(cell, after, homes, kept, set(), account, last)
    _add_money(rows, cell, setup, rounds_, weights)
    return rows


@dataclass
class _Centre:
    """A model that is trained in one place, on the windows of one home or of all."""

    homes: list[Home]
    weights: Weights
    keeper: Keeper[Model]
    run: int = 0
    seen: dict[int, Model] = field(default_factory=dict)


def _untrained(cell: Cell, setup: Setup, homes: list[Home]) -> list[Row]:
    """What nothing is trained for: the mean of the last 7 days, or the weights that all start from,
    which are a forecast already: the ``slot`` models begin with a mean of past days."""
    rounds_, _ = _lengths(cell, setup)
    hour = cell.dial.attack_hour
    start: Weights | None = None
    if cell.entry.name == "untrained":
        start = initial_weights(setup.preset, None, cell.seed)
        model = build_model(setup.preset)
        load_weights(model, start)
    rows: list[Row] = []
    for round_ in sorted(setup.measured(rounds_)):
        errors: dict[str, Errors] = {}
        for home in homes:
            if start is None:
                own = day_errors(home.phase(round_).baseline, home, round_, hour)
                errors[home.name] = {**own, "check_nrmse": float("nan")}
            else:
                errors[home.name] = measure(model, home, round_, hour)
        none = dict.fromkeys(errors, Last(0, 0))
        rows += _rows(cell, round_, homes, errors, set(), Account(), none)
    weights = None if start is None else {home.name: start for home in homes}
    _add_money(rows, cell, setup, rounds_, weights)
    return rows


def _add_money(
    rows: list[Row], cell: Cell, setup: Setup, last: int, weights: dict[str, Weights] | None
) -> None:
    if setup.money_days <= 0 or cell.dial.data_only() != Dial():
        return  # the days that are lived are those of the homes as they are
    if not all(np.isfinite(row["nrmse"]) for row in rows if row["round"] == last):
        return  # no forecasts, or none of some home's
    share = share_of_optimum(setup, cell.seed, weights)
    for row in rows:
        if row["round"] == last:
            row["share_of_optimum"] = share


def _reset_peak() -> None:
    """Forget the process's peak memory, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
