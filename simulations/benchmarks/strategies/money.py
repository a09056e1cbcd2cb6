"""What a model is worth: the held-out days lived in the market with it, and without learning on.

Every home has the default battery and the default trader, whose own days the model corrects where
that has been any good lately. Without weights, or by a model that has no head for net load, they
trade by own days alone.
"""

import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.arrays import Floats, Ints
from common.config import Settings, load
from common.data.frame import Household
from common.data.store import write_household
from common.forecast.net_corrector import NetCorrector, has_net
from common.model_messages import Weights
from fl_client.deciding import AskNet
from fl_client.household import Group
from fl_client.learner import corrections_of
from simulations import summary
from simulations.benchmarks.strategies.homes import (
    days_read,
    households_of,
    sources_of,
    span_of,
)
from simulations.benchmarks.strategies.setup import Setup
from simulations.benchmarks.traders.life import Correct, live

_HISTORY_DAYS = 60


def share_of_optimum(setup: Setup, seed: int, weights: Mapping[str, Weights] | None) -> float:
    """Share of the perfect-foresight saving that the community gets with these models; nan where
    there is nothing to save."""
    correct = None
    if weights is not None and all(map(has_net, weights.values())):
        correct = _correct(weights)
    cost = _cost(setup, seed, "none", "trader.kind=bid-curve", correct)
    share = summary.share_of_optimum(cost["community"], *_references(setup, seed))
    return float("nan") if share is None else share


@lru_cache(maxsize=2)
def _references(setup: Setup, seed: int) -> tuple[float, float]:
    """Cost of the community on its first held-out days without battery, and at the optimum."""
    cost = _cost(setup, seed, "all", "trader.kind=hold")
    return cost["no_battery_no_trade"], cost["community_optimum"]


def _cost(
    setup: Setup, seed: int, references: str, trader: str, correct: Correct | None = None
) -> dict[str, float]:
    """What the first held-out days cost, lived with ``trader``."""
    with tempfile.TemporaryDirectory(prefix="fedwatt-money-") as scratch:
        homes, run = Path(scratch) / "homes", Path(scratch) / "run"
        for household in _households(setup):
            write_household(household, homes)
        run.mkdir()
        settings = _settings(setup, seed, homes, references, trader)
        cost: dict[str, float] = live(settings, run, correct=correct)["cost"]
    return cost


def _settings(setup: Setup, seed: int, homes: Path, references: str, trader: str) -> Settings:
    one = _households(setup)[0]
    span = span_of(one, seed, setup.known_days, setup.test_days)
    begin = one.frame.index[span.cut].tz_convert(one.timezone)
    return load(
        None,
        [
            f"data.source={homes}",
            f"run.households={setup.households}",
            f"run.start={begin.date()}",
            f"run.days={setup.money_days}",
            f"run.history_days={_HISTORY_DAYS}",
            f"run.references={references}",
            "run.engine=loop",
            "run.shadow=false",
            "fl.enabled=false",
            trader,
        ],
    )


def _households(setup: Setup) -> list[Household]:
    days = days_read(setup.known_days, setup.test_days)
    return households_of(sources_of(setup.data)[0], setup.households, days, setup.timezone)


def _correct(weights: Mapping[str, Weights]) -> Correct:
    """Each home's own days as its own ``weights`` correct them, as a run would have it."""

    def correct(group: Group) -> AskNet:
        homes = [
            (corrections_of(group, h), NetCorrector(weights[name]))
            for h, name in enumerate(group.names)
        ]

        def ask(households: Ints, unknown: int, lag: int) -> Floats:
            t = group.tokens.count + lag - unknown
            told = [homes[h] for h in households.tolist()]
            return np.stack([own.quantiles("", model, t, lag) for own, model in told])

        return ask

    return correct
