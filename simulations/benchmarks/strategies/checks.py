"""What is refused before a grid begins: a cell would come to it hours later."""

import math
from collections.abc import Sequence

from common.errors import InputError
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.homes import days_read, gathered, sources_of, span_of
from simulations.benchmarks.strategies.setup import Entry, Setup
from simulations.benchmarks.strategies.setup import check as check_entry

Job = tuple[Sequence[Entry], dict[str, Dial]]


def check(jobs: Sequence[Job], setup: Setup) -> None:
    """Hold the setup, every dial, and every strategy under each of its dials against what cells
    need. Raises InputError."""
    rate = setup.learning_rate
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError(f"--learning-rate {rate}: not a number above 0")
    if not math.isfinite(setup.money_days):
        raise InputError(f"--money-days {setup.money_days}: not a number of days")
    if setup.money_days and sources_of(setup.data)[1] is not None:
        raise InputError("--money-days: homes of two sources have no market in common")
    for entries, dials in jobs:
        for name, dial in dials.items():
            try:
                _check_dial(dial, setup)
            except InputError as error:
                raise InputError(f"dial {name}: {error}") from None
        for entry in entries:
            check_entry(entry, setup.households, dials)
    if setup.check_days and not all_tell_errors(jobs):
        raise InputError(
            f"--check-days {setup.check_days}: nobody can go by errors under attack, nor by those "
            "of private homes: run these dials by themselves, or all with --check-days 0"
        )


def all_tell_errors(jobs: Sequence[Job]) -> bool:
    """Whether runs may end by what homes tell under every dial."""
    return all(dial.tells_errors for _, dials in jobs for dial in dials.values())


def _check_dial(dial: Dial, setup: Setup) -> None:
    if dial.attack == "none" and dial.attackers:
        raise InputError(f"attackers = {dial.attackers}: no attack is named")
    if few := dial.too_few(setup.households):
        raise InputError(few)
    if dial.climate_share:
        # The first cells read the first source alone.
        days = days_read(setup.known_days, setup.test_days)
        homes = gathered(setup.data, setup.households, days, setup.timezone, dial.climate_share)
        for _, household in homes:
            span_of(household, 0, setup.known_days, setup.test_days)


def fitting(jobs: Sequence[Job], households: int) -> tuple[list[Job], list[str]]:
    """(Parts of the full grid without the attacks that so few homes cannot make, a line for each of
    these)."""
    kept, said = [], []
    for entries, dials in jobs:
        few = {name: dial.too_few(households) for name, dial in dials.items()}
        for name, why in few.items():
            if why:
                said.append(f"{name} is left out: {why}")
        kept.append((entries, {n: dial for n, dial in dials.items() if not few[n]}))
    return kept, said
