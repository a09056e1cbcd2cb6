"""What can be forecast without a neural network: naive rules, ridge regression, LightGBM."""

from typing import Any

import numpy as np

from common.arrays import Floats
from common.errors import InputError
from common.forecast.baselines import BASELINES
from common.forecast.streams import SLOTS
from common.rng import generator
from simulations.benchmarks.boosted import regressor
from simulations.benchmarks.forecasts.panel import LOOKBACK_DAYS, Panel, Rows, Span

LAGS = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)
SAMPLED_ORIGINS = 8000


def naive(name: str, values: Floats, origins: Rows, horizon: int) -> Floats:
    """Forecast (H, T) values by a rule of ``BASELINES`` from each origin: (H, n, horizon)."""
    rule, back = BASELINES[name], LOOKBACK_DAYS * SLOTS
    forecasts = [rule(values[:, max(0, o - back) : o], horizon) for o in origins]
    return np.stack(forecasts, axis=1)


def _design(panel: Panel, home: Rows, origins: Rows, level: Floats) -> Floats:
    """Features (n, 48, F) of the day from each (home, origin); loads in units of ``level`` (n,)."""
    steps = origins[:, None] + np.arange(SLOTS)
    load, unit = panel.filled, level[:, None, None]
    lags = np.stack([load[home[:, None], steps - SLOTS * lag] for lag in LAGS], -1) / unit
    week = lags[..., :7]
    calendar = panel.histories[0].calendar[steps]
    recent = [
        load[home[:, None], origins[:, None] - SLOTS * days + np.arange(SLOTS * days)].mean(1)
        for days in (1, 7, 28)
    ]
    warm = [
        panel.temperature[home[:, None], origins[:, None] - 1 - np.arange(SLOTS * days)].mean(1)
        for days in (1, 7, 28)
    ]
    # Changes, not levels: a tree that has seen no winter takes cold for the coldest it knows.
    change = [warm[0] - warm[1], warm[1] - warm[2]]
    context = np.stack([*(r / level for r in recent), *change], -1)
    return np.concatenate(
        [
            lags,
            week.mean(-1, keepdims=True),
            week.std(-1, keepdims=True),
            calendar,
            np.repeat(context[:, None], SLOTS, 1),
        ],
        -1,
    )


def _model(name: str) -> Any:
    if name == "ridge":
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), Ridge(alpha=10.0))
    return regressor(n_estimators=300, num_leaves=63)


def regression(name: str, panel: Panel, span: Span, origins: Rows, seed: int) -> Floats:
    """Fit ``ridge`` or ``lightgbm`` once on all homes' pooled days; forecast (H, n, 48) kWh.

    Trained on squared error, on loads in units of the home's mean of the training span. Raises
    InputError when that is under 29 days.
    """
    first = LOOKBACK_DAYS * SLOTS
    if span.start < first + SLOTS:
        raise InputError(
            f"{name}: {span.start / SLOTS:.0f} days of training; it needs {LOOKBACK_DAYS + 1}"
        )
    homes = len(panel.names)
    level = np.maximum(panel.filled[:, : span.start].mean(1), 1e-6)
    rng = generator(seed, "", 0, f"benchmark {name}")
    home = rng.integers(0, homes, SAMPLED_ORIGINS)
    start = rng.integers(first, span.start - SLOTS + 1, SAMPLED_ORIGINS)
    x = _design(panel, home, start, level[home])
    y = panel.filled[home[:, None], start[:, None] + np.arange(SLOTS)] / level[home][:, None]
    model = _model(name).fit(x.reshape(-1, x.shape[-1]), y.ravel())
    forecasts = np.empty((homes, len(origins), SLOTS))
    everyone = np.arange(homes)
    for i, origin in enumerate(origins):
        x = _design(panel, everyone, np.full(homes, origin), level)
        made = np.asarray(model.predict(x.reshape(-1, x.shape[-1]))).reshape(homes, SLOTS)
        forecasts[:, i] = np.maximum(made * level[:, None], 0.0)
    return forecasts
