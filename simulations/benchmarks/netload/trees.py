"""LightGBM in the place of the shared model: one set of trees a quantile corrects own days.

It is told what the model is told (``common/forecast/net_inputs.py``) of everybody's readings, which
had to be collected for it: no federation, but what a good library makes of the same numbers.
"""

from collections.abc import Sequence

import numpy as np

from common.arrays import Floats
from common.forecast.net_inputs import INPUTS, LEVELS, NetInputs, NetRows, net_inputs
from common.forecast.streams import SLOTS
from common.rng import generator
from simulations.benchmarks.boosted import regressor

TREES = 100
"""A quantile."""
STEPS = 6
"""Of the 48 ahead of each origin, drawn anew; the model learns from as many."""
_FIRST, _EVERY = 7 * SLOTS, 5  # origins: not the first days, and all hours of the day


class Trees:
    """Corrections of each of the 14 quantiles, fitted on the rows before ``known`` of all homes."""

    def __init__(self, homes: Sequence[NetRows], known: int, seed: int) -> None:
        inputs, missed = [], []
        for h, rows in enumerate(homes):
            made, actual = _past(rows, known, seed, h)
            inputs.append(made.inputs.reshape(-1, INPUTS))
            missed.append((actual[..., None] - made.own).reshape(-1, len(LEVELS)))
        x, y = np.concatenate(inputs), np.concatenate(missed)
        whole = np.isfinite(y).all(1)
        self._models = [
            regressor(objective="quantile", alpha=level, n_estimators=TREES, num_leaves=31).fit(
                x[whole], y[whole, i]
            )
            for i, level in enumerate(LEVELS)
        ]

    def corrected(self, made: NetInputs) -> Floats:
        """Own days as the trees correct them: (B, K, 14) sorted quantiles, in units."""
        x = made.inputs.reshape(-1, INPUTS)
        moved = np.stack([model.predict(x) for model in self._models], -1)
        return np.sort(made.own + moved.reshape(made.own.shape), axis=-1)


def _past(rows: NetRows, known: int, seed: int, home: int) -> tuple[NetInputs, Floats]:
    """What was known at every origin of the past, and the net load (B, K) that came, in units.

    No target is at row ``known`` or later.
    """
    origins = np.arange(min(_FIRST, known), known - SLOTS + 1, _EVERY)
    rng = generator(seed, str(home), 0, "benchmark net load")
    steps = rng.random((len(origins), SLOTS)).argsort(1)[:, :STEPS]
    steps[:, 0] = 0  # the half hour being traded counts for more than its share
    steps.sort(1)
    made = net_inputs(rows, origins, rows.lag[origins], np.zeros_like(origins), steps)
    at = origins[:, None] + steps
    return made, (rows.load[at] - rows.pv[at]) / made.unit[:, None]
