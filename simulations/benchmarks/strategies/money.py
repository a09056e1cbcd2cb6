"""What a model's forecasts are worth: the held-out days lived in the market with them.

Every home has the default battery and trades bid curves whose scenarios are its past days reshaped
by the model (trader option ``scenarios=model``). Without weights the forecast is the mean of the
last 7 days.
"""

import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR
from common.config import Settings, load
from common.data.frame import Household
from common.data.store import write_household
from common.forecast.forecaster import Forecaster
from common.forecast.scalers import fit_scaler
from common.model_messages import Weights
from fl_client.deciding import AskModel, DayAhead
from fl_client.household import Group
from simulations import summary
from simulations.benchmarks.strategies.homes import households_of, sources_of, span_of
from simulations.benchmarks.strategies.setup import Setup
from simulations.benchmarks.traders.foresights import same_slots
from simulations.benchmarks.traders.life import Foresee, live

_DAY = HALF_HOUR.per_day
_HISTORY_DAYS = 60


def share_of_optimum(setup: Setup, seed: int, weights: Mapping[str, Weights] | None) -> float:
    """Share of the perfect-foresight saving that the community gets with these forecasts; nan
    where there is nothing to save."""
    foresee = same_slots(7) if weights is None else _foresee(setup, weights)
    cost = _cost(setup, seed, "none", "trader.options.scenarios=model", foresee=foresee)
    share = summary.share_of_optimum(cost["community"], *_references(setup, seed))
    return float("nan") if share is None else share


@lru_cache(maxsize=2)
def _references(setup: Setup, seed: int) -> tuple[float, float]:
    """Cost of the community on its first held-out days without battery, and at the optimum."""
    cost = _cost(setup, seed, "all", "trader.kind=hold")
    return cost["no_battery_no_trade"], cost["community_optimum"]


def _cost(
    setup: Setup, seed: int, references: str, trader: str, foresee: Foresee | None = None
) -> dict[str, float]:
    """What the first held-out days cost, lived with ``trader``."""
    with tempfile.TemporaryDirectory(prefix="fedwatt-money-") as scratch:
        homes, run = Path(scratch) / "homes", Path(scratch) / "run"
        for household in _households(setup):
            write_household(household, homes)
        run.mkdir()
        settings = _settings(setup, seed, homes, references, trader)
        cost: dict[str, float] = live(settings, run, foresee)["cost"]
    return cost


def _settings(setup: Setup, seed: int, homes: Path, references: str, trader: str) -> Settings:
    one = _households(setup)[0]
    span = span_of(one, seed, setup.train_days, setup.test_days)
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
    days = setup.train_days + setup.test_days + 120
    return households_of(sources_of(setup.data)[0], setup.households, days, setup.timezone)


def _foresee(setup: Setup, weights: Mapping[str, Weights]) -> Foresee:
    """Each home's forecast by its own ``weights``, scaled as in its training days."""

    def foresee(group: Group) -> AskModel:
        forecasters = []
        for history, name in zip(group.histories, group.names, strict=True):
            origin = len(history) - group.tokens.count
            scaler = fit_scaler(history, max(origin - setup.train_days * _DAY, 0), origin)
            forecasters.append(Forecaster(setup.preset, weights[name], [scaler]))

        def ask(households: Ints, unknown: int, lag: int) -> DayAhead:
            load, price = [], []
            for h in households.tolist():
                history = group.histories[h]
                made = forecasters[h].forecast([history], len(history) - unknown, ("day",))
                load.append(_from(made.streams["consumption_day"][0], lag))
                price.append(_from(made.streams["price_day"][0], lag))
            return DayAhead(households, np.stack(load), np.stack(price), None, ())

        return ask

    return foresee


def _from(day: np.ndarray, lag: int) -> Floats:
    """A day from ``lag`` intervals after its start on; its last interval repeats."""
    return np.concatenate([day[lag:], np.repeat(day[-1:], lag)]).astype(np.float64)
