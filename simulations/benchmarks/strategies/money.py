"""What a model's forecasts are worth: the held-out days lived in the market with them.

Every home has the default battery and trades bid curves whose scenarios are its past days reshaped
by the model (trader option ``scenarios=model``). Without weights the forecast is the mean of the
last 7 days.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from common.cadence import HALF_HOUR
from common.data.frame import Household
from common.forecast.baselines import mean_7_days
from common.forecast.forecaster import Forecaster
from common.forecast.history import history_of
from common.forecast.scalers import fit_scaler
from common.model_messages import Weights
from fl_client.models import digest
from fl_client.trader import TraderForecast, make_trader
from simulations.benchmarks.strategies.homes import households_of, span_of
from simulations.benchmarks.strategies.setup import Setup
from simulations.benchmarks.traders.community import Community, Foresight, gather, live
from simulations.references import community_optimum, no_battery_no_trade

_DAY = HALF_HOUR.per_day
_HISTORY_DAYS = 60


@lru_cache(maxsize=2)
def _days(setup: Setup, seed: int) -> tuple[Community, float, float]:
    """The community on its first held-out days, its cost without battery, and at the optimum."""
    households = _households(setup)
    span = span_of(households[0], seed, setup.train_days, setup.test_days)
    start = households[0].frame.index[span.cut]
    community = gather(households, start, setup.money_days, _HISTORY_DAYS)
    case = community.case
    return community, no_battery_no_trade(case).total, community_optimum(case).total


def _households(setup: Setup) -> list[Household]:
    days = setup.train_days + setup.test_days + 120
    return households_of(setup.data, setup.households, days, setup.timezone)


def share_of_optimum(setup: Setup, seed: int, weights: Mapping[str, Weights] | None) -> float:
    """Share of the perfect-foresight saving that the community gets with these forecasts."""
    community, nothing, optimum = _days(setup, seed)
    trader = make_trader("bid-curve", {"scenarios": "model"})
    life = live(community, trader, _foresight(setup, seed, community, weights))
    return (nothing - life.total) / (nothing - optimum)


def _foresight(
    setup: Setup, seed: int, community: Community, weights: Mapping[str, Weights] | None
) -> Foresight:
    households = _households(setup)
    span = span_of(households[0], seed, setup.train_days, setup.test_days)
    offset = span.cut - community.first
    if weights is None:

        def baseline(row: int, lag: int) -> TraderForecast:
            past = community.load[:, : row - lag]
            return TraderForecast(load=_from(mean_7_days(past, _DAY), lag), age=lag)

        return baseline

    histories = [history_of(household) for household in households]
    scalers = [fit_scaler(history, span.first, span.cut) for history in histories]
    groups: dict[str, list[int]] = {}
    for h, household in enumerate(households):
        groups.setdefault(digest(weights[household.name]), []).append(h)
    forecasters = [
        (members, Forecaster(setup.preset, weights[households[members[0]].name],
                             [scalers[h] for h in members]))
        for members in groups.values()
    ]  # fmt: skip

    def foresight(row: int, lag: int) -> TraderForecast:
        load = np.zeros((len(households), _DAY))
        for members, forecaster in forecasters:
            known = offset + row - lag
            found = forecaster.forecast([histories[h] for h in members], known, ("day",))
            load[members] = found.streams["consumption_day"]
        return TraderForecast(load=_from(load, lag), age=lag)

    return foresight


def _from(day: np.ndarray, lag: int) -> np.ndarray:
    """A day from ``lag`` intervals after its start on; its last interval repeats."""
    return np.concatenate([day[:, lag:], np.repeat(day[:, -1:], lag, axis=1)], axis=1)
