"""Homes that join after others have learned: the others' run, then theirs, with and without it."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.config import load
from common.data.frame import Household
from common.data.store import write_household
from common.errors import InputError
from simulations.benchmarks.traders.life import live
from simulations.benchmarks.traders.paired import gain
from simulations.benchmarks.traders.run import BASE, Days, Score
from simulations.homes import load_households

FEDERATED = "bid-curve, federated"
_GENERATED_DAYS = 120


@dataclass(frozen=True)
class Plan:
    """Who has learned, who joins, when, and with how many days of readings of their own."""

    data: str
    settled: int
    joining: int
    starts: Sequence[date]
    days: float
    history: Sequence[int]
    learned_days: float
    seeds: int
    settings: Sequence[str]


def compare(plan: Plan) -> dict[str, Any]:
    """Live every span with every length of history, by own days and with the model.

    Shares of the optimum are means over spans and seeds, gains paired by home and week.
    """
    scores: dict[int, list[Score]] = {days: [] for days in plan.history}
    saving = {}
    for seed in range(plan.seeds):
        for start in plan.starts:
            with _learned(plan, start, seed) as (model, homes):
                for days in plan.history:
                    span = _span(plan, start, seed, model, homes, days)
                    scores[days] += [span.score(BASE), span.score(FEDERATED)]
                    saving[span.start, seed] = span.saving
                    span.close()
    lines = []
    for days, found in scores.items():
        share = {
            row: float(np.mean([score.share_of_optimum for score in found if score.row == row]))
            for row in (BASE, FEDERATED)
        }
        beside = asdict(gain(found, FEDERATED, BASE, saving))
        lines.append(
            {"days": days, "alone": share[BASE], "federated": share[FEDERATED], "gain": beside}
        )
    told = asdict(plan) | {"starts": [str(start) for start in plan.starts]}
    every = [asdict(score) | {"history": d} for d, found in scores.items() for score in found]
    return {"plan": told, "history": lines, "scores": every}


@contextmanager
def _learned(plan: Plan, start: date, seed: int) -> Iterator[tuple[Path, list[Household]]]:
    """The model of the settled homes when ``start`` comes, and the homes that join."""
    homes = load_households(
        plan.data,
        households=plan.settled + plan.joining,
        days=_GENERATED_DAYS,
        seed=seed,
        timezone=None,
    )
    with tempfile.TemporaryDirectory(prefix="fedwatt-newcomers-") as scratch:
        folder = Path(scratch)
        for home in homes[: plan.settled]:
            write_household(home, folder / "settled")
        begin = pd.Timestamp(start) - pd.Timedelta(days=plan.learned_days)
        settings = load(
            None,
            [
                f"data.source={folder / 'settled'}",
                f"run.households={plan.settled}",
                f"run.start={begin.date()}",
                f"run.days={plan.learned_days}",
                f"run.seed={seed}",
                "run.engine=loop",
                "run.references=none",
                "run.shadow=false",
                "trader.kind=hold",
                *plan.settings,
            ],
        )
        (folder / "run").mkdir()
        live(settings, folder / "run")
        yield folder / "run" / "model" / "final.safetensors", homes[plan.settled :]


def _span(
    plan: Plan, start: date, seed: int, model: Path, homes: Sequence[Household], days: int
) -> Days:
    """The days of the homes that join, which know ``days`` of their own past."""
    folder = model.parent / f"joining-{days}"
    for home in homes:
        write_household(_young(home, start, days), folder)
    return Days(
        [
            f"data.source={folder}",
            f"run.households={plan.joining}",
            f"run.start={start}",
            f"run.days={plan.days}",
            f"run.seed={seed}",
            *plan.settings,
            f"model.init={model}",
        ],
        cap=1.0,
    )


def _young(home: Household, start: date, days: int) -> Household:
    """The home as if it had begun to measure ``days`` before ``start``. Raises InputError."""
    index = home.frame.index
    assert isinstance(index, pd.DatetimeIndex)
    begin = pd.Timestamp(start, tz=home.timezone).tz_convert("UTC") - pd.Timedelta(days=days)
    if begin < index[0]:
        raise InputError(f"household {home.name} has no {days} days of readings before {start}")
    rows = index >= begin
    return replace(home, frame=home.frame[rows], filled_rows=home.filled_rows[rows])
