"""The forecasts a trader can be given: plain ones, the federated model's, and the truth.

Each is a function of (row, lag) that reads only rows before row - lag, the truth apart.
"""

from collections.abc import Sequence

import numpy as np

from common.arrays import Floats
from common.cadence import HALF_HOUR
from common.data.frame import INTERVAL, Household
from common.forecast.forecaster import Forecaster
from common.forecast.history import History
from fl_client.trader import TraderForecast
from simulations.benchmarks.traders.community import Community, Foresight

DAY = HALF_HOUR.per_day


def same_slots(community: Community, days: int) -> Foresight:
    """Mean of the same slots of the last ``days`` known days, load and PV (1: the last day)."""
    c = community

    def ahead(row: int, lag: int) -> TraderForecast:
        steps = np.arange(DAY)
        # The last slots of a lagging meter's day are not known yet: a day earlier for them.
        newest = row + steps - DAY * np.where(row + steps - DAY >= row - lag, 2, 1)
        rows = newest[None, :] - DAY * np.arange(days)[:, None]
        rows = np.maximum(rows, rows % DAY)
        load, pv = c.load[:, rows], c.pv[:, rows]
        return TraderForecast(load.sum(axis=1) / days, None, pv=pv.sum(axis=1) / days, age=lag)

    return ahead


def truth(community: Community) -> Foresight:
    """What will happen, the current interval included: the bound no trader can pass."""
    c = community

    def ahead(row: int, lag: int) -> TraderForecast:
        last = c.load.shape[1] - 1
        rows = np.minimum(np.arange(row, row + DAY), last)
        return TraderForecast(c.load[:, rows], None, pv=c.pv[:, rows])

    return ahead


def federated(
    community: Community,
    households: Sequence[Household],
    *,
    preset: str,
    rounds: int,
    local_steps: int,
    seed: int,
) -> Foresight:
    """The federated model with its quantiles of load, trained on the rows before the first day.

    It does not learn on during the days; in a run it does.
    """
    # Torch is slow to import and only this row of the benchmark needs it.
    from simulations.benchmarks.forecasts.neural import Homes, Plan
    from simulations.benchmarks.forecasts.neural import federated as train
    from simulations.benchmarks.forecasts.panel import Span, make_panel

    panel = make_panel(households)
    begin = panel.histories[0].index[0]
    base = int((community.start - begin) // INTERVAL) - community.first
    first = base + community.first
    homes = Homes(panel, Span(first, first), Plan(preset, rounds, local_steps, 32), seed)
    trained = train(homes)
    forecaster = Forecaster(preset, trained.of(0), homes.scalers)
    histories: Sequence[History] = panel.histories

    def ahead(row: int, lag: int) -> TraderForecast:
        horizons = ("day", "week") if lag else ("day",)
        made = forecaster.forecast(histories, base + row - lag, horizons)

        def shifted(kind: str) -> Floats:
            stream = made.streams[f"{kind}_day"]
            if lag:
                tail = made.streams[f"{kind}_week"][:, DAY : DAY + lag]
                stream = np.concatenate([stream[:, lag:], tail], axis=1)
            return stream.astype(np.float64)

        quantiles = made.quantiles
        if quantiles is not None:
            quantiles = np.pad(quantiles[:, :, lag:], ((0, 0), (0, 0), (0, lag)), mode="edge")
        return TraderForecast(
            shifted("consumption"),
            shifted("price"),
            None if quantiles is None else quantiles.astype(np.float64),
            made.levels,
            lag,
        )

    return ahead


def error(community: Community, foresight: Foresight) -> float:
    """RMSE over mean load of day-ahead load forecasts issued at local midnight, all homes."""
    c = community
    wrong, size = [], []
    for t in range(c.intervals):
        row = c.first + t
        if c.slot[row] or row + DAY > c.load.shape[1]:
            continue
        made = foresight(row, int(c.lag[row]))
        assert made is not None
        actual = c.load[:, row : row + DAY]
        wrong.append((made.load - actual) ** 2)
        size.append(actual)
    if not size:
        return float("nan")
    return float(np.sqrt(np.mean(wrong)) / np.mean(size))
