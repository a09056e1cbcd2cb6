"""Tuning: every strategy gets the same number of trials, judged on days before the held-out ones.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): all trials run for a few
rounds, the best third goes on for three times as many, and so on to the full length. Trial 0 is the
strategy as it was given; it runs to the end whatever its error, and another is chosen only where it
is better. Values of a trial are a function of the strategy and the trial's number. Cells of a
tuning are cells of the benchmark, so one that was killed goes on where it stopped and ends with the
same values.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import write_json
from common.rng import generator
from simulations.benchmarks.strategies import grid
from simulations.benchmarks.strategies.dials import CLEAN, Dial
from simulations.benchmarks.strategies.setup import Cell, Entry, Setup
from simulations.benchmarks.strategies.spaces import space_of, with_values
from simulations.benchmarks.strategies.tables import Table
from simulations.report import text

FOLDER = "tuning"
FILE = "tuning.json"
SHARE = 3
"""One of so many goes on to the next rung, for so many times as long."""
LEAST_DAYS = 9
"""Days to train on that must be left: a week of past, a day, a day of targets."""


@dataclass(frozen=True)
class Tuned:
    """What a tuning found for a strategy. Errors are nRMSE on the days to choose by."""

    strategy: str
    tuned: str
    error: float
    tuned_error: float
    trials: int
    cpu_s: float


def rungs(trials: int, rounds: int) -> list[tuple[int, int]]:
    """(trials, rounds) of each rung: a third of the trials for three times as long, or for a round
    more where that is none, the last for all rounds."""
    last = int(math.log(trials + 0.5, SHARE))
    found: list[tuple[int, int]] = []
    for k in range(last + 1):
        longer = found[-1][1] + 1 if found else 1
        length = min(rounds, max(longer, round(rounds / SHARE ** (last - k))))
        if not found or length > found[-1][1]:
            found.append((max(1, trials // SHARE**k), length))
    return found


def trials_of(entry: Entry, setup: Setup, count: int) -> list[Entry]:
    """The strategy as it is, and ``count`` - 1 others; the same whenever they are asked for."""
    space = space_of(entry, setup)
    found = [entry]
    for trial in range(1, count):
        draws = {key: generator(0, entry.text, trial, f"tuning {key}") for key in space}
        found.append(with_values(entry, {key: one.draw(draws[key]) for key, one in space.items()}))
    return found


def check(setup: Setup) -> None:
    """Raise InputError where no days would be left to train on."""
    left = setup.train_days - setup.test_days
    if left < LEAST_DAYS:
        raise InputError(
            f"--tune: choosing takes {setup.test_days} of the {setup.train_days} days to train on, "
            f"and leaves {left}; at least {LEAST_DAYS} are needed: more --train-days, or --tune 0"
        )


def tune(
    entries: Sequence[Entry],
    setup: Setup,
    trials: int,
    seeds: int,
    repeats: int,
    out: Path,
    workers: int,
) -> list[Tuned]:
    """Tune each strategy in the clean community; writes OUT/tuning.json and the cells beside it.

    ``seeds``: of the benchmark, whose held-out days no trial comes near. ``repeats``: seeds a trial
    is run with. Raises InputError as ``check`` does.
    """
    check(setup)
    alive = {entry.text: trials_of(entry, setup, trials) for entry in entries}
    errors: dict[str, dict[str, float]] = {entry.text: {} for entry in entries}
    cpu_s = dict.fromkeys(alive, 0.0)
    for number, (count, rounds) in enumerate(rungs(trials, setup.rounds)):
        short = replace(setup, rounds=rounds, money_days=0.0, before_seeds=seeds)
        folder = out / FOLDER / f"rung-{number}"
        for entry in entries:
            if number:
                alive[entry.text] = _best(entry, alive[entry.text], errors[entry.text], count)
            # Text by text: a value may be drawn twice where there are few.
            alive[entry.text] = list({one.text: one for one in alive[entry.text]}.values())
        every = {one.text: one for trial in alive.values() for one in trial}
        cells = [
            Cell(every[text], CLEAN, Dial(), seed)
            for seed in range(repeats)
            for text in sorted(every)
        ]
        print(f"tuning, rung {number + 1}: {len(cells)} cells of {rounds} rounds")
        grid.run_grid(cells, short, folder, workers)
        for entry in entries:
            own = {one.text for one in alive[entry.text]}
            found: dict[str, list[float]] = {}
            for cell in (cell for cell in cells if cell.entry.text in own):
                rows, cost = grid.read_cell(cell, folder)
                last = rows[rows["round"] == rows["round"].max()]
                found.setdefault(cell.entry.text, []).append(
                    float(last["nrmse"].mean(skipna=False))
                )
                cpu_s[entry.text] += cost["cpu_s"]
            errors[entry.text] = {t: sum(e) / len(e) for t, e in found.items()}
    tuned = []
    for entry in entries:
        error = errors[entry.text]
        [best] = _best(entry, alive[entry.text], error, 1, keep=False)
        tuned.append(
            Tuned(
                entry.text, best.text, error[entry.text], error[best.text], trials,
                cpu_s[entry.text],
            )
        )  # fmt: skip
    write_json(out / FILE, {"strategies": [asdict(one) for one in tuned]})
    return tuned


def _best(
    entry: Entry, trials: Sequence[Entry], errors: dict[str, float], count: int, keep: bool = True
) -> list[Entry]:
    """The ``count`` trials with the least error, the earlier of two alike; ``keep``: and the
    strategy as it was given. An error that is not finite is the largest."""
    order = sorted(
        range(len(trials)),
        key=lambda i: (_or_infinite(errors[trials[i].text]), i),
    )
    chosen = [trials[i] for i in sorted(order[:count])]
    return [entry, *(one for one in chosen if one != entry)] if keep else chosen


def _or_infinite(error: float) -> float:
    return error if math.isfinite(error) else math.inf


def _told(one: Tuned) -> list[str]:
    """Both errors and the change; where a home of every trial diverged, that."""
    errors = (one.error, one.tuned_error)
    change = one.tuned_error / one.error - 1
    return [
        *(f"{error:.4f}" if math.isfinite(error) else "failed" for error in errors),
        f"{100 * change:+.1f} %" if all(map(math.isfinite, errors)) else text.MISSING,
    ]


def table(tuned: Sequence[Tuned]) -> Table:
    """What was found, and what it cost."""
    return Table(
        "Tuning",
        (
            "strategy", "tuned", "nRMSE as given", "nRMSE tuned", "change", "trials",
            "CPU of the tuning [s]",
        ),
        [
            [
                one.strategy,
                "as given" if one.tuned == one.strategy else one.tuned,
                *_told(one),
                str(one.trials),
                f"{one.cpu_s:.0f}",
            ]
            for one in tuned
        ],
        "Errors on days that lie before the held-out days of every seed, kept for tuning: the "
        "least of several trials, so lower than may be expected later. What comes of it on the "
        "held-out days is in the other tables, where both rows stand. Every strategy has the same "
        "number of trials, by successive halving (Jamieson and Talwalkar 2016).",
    )  # fmt: skip
