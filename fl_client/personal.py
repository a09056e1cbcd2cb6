"""Making the shared model a household's own: what is learned here stays on its disk.

Fine-tuning starts from the shared model, trains the last layers alone and then everything (linear
probing before fine-tuning: Kumar et al. 2022, arXiv:2202.10054), and keeps the result only if it is
better on days held out from it. Personal layers (FedPer: Arivazhagan et al. 2019, arXiv:1912.00818)
are the same last layers, never averaged.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from common.config import Training
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.presets import Preset
from common.forecast.windows import Windows
from fl_client.training import evaluate, learning_rate, local_update

Weights = dict[str, NDArray[np.float32]]
_LAST_LAYERS = {
    "slot": ("mean.", "quantiles.", "season.", "long.out.", "price.out.", "net.out."),
    "window": ("heads.",),
}


@dataclass(frozen=True)
class FineTuned:
    """Loss on the held-out days of the shared and of the tuned model."""

    shared_loss: float
    tuned_loss: float
    least_gain: float

    @property
    def kept(self) -> bool:
        """Whether the tuned model is better by the share ``least_gain``, and so is kept."""
        return self.tuned_loss < (1.0 - self.least_gain) * self.shared_loss


def is_personal(preset: Preset, name: str) -> bool:
    """Whether a weight of this name belongs to the last layers of ``preset``."""
    return name.startswith(_LAST_LAYERS[preset.family])


def with_personal(
    preset: Preset, shared: Mapping[str, NDArray[np.float32]], own: Weights
) -> Weights:
    """Return the shared model with the household's own last layers."""
    return {name: own[name] if is_personal(preset, name) else shared[name] for name in shared}


def fine_tune(
    model: nn.Module,
    windows: Windows,
    training: Training,
    *,
    head_steps: int,
    all_steps: int,
    seed: int,
    household: str = "",
    holdout: float = 0.2,
    check_windows: int = 128,
    least_gain: float = 0.01,
) -> FineTuned:
    """Personalise ``model`` in place: last layers first, then all; undone unless it helps.

    The last ``holdout`` share of the windows, in time, decides and is not trained on: the loss on
    them has to fall by ``least_gain``. The rate of the second part is a tenth of the first's. A
    household without held-out windows keeps the shared model.
    """
    train, held = windows.split(holdout) if len(windows) else (windows, windows)
    shared = weights_of(model)
    if not len(train) or not len(held):
        return FineTuned(float("nan"), float("nan"), least_gain)
    held = held.every(max(1, len(held) // check_windows))
    before = evaluate(model, held)["loss"]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_personal(windows.preset, name))
    try:
        local_update(
            model, train, training, steps=head_steps, seed=seed, household=household, round_=1
        )
    finally:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
    rate = learning_rate(training, windows.preset) / 10.0
    slower = training.model_copy(update={"learning_rate": rate})
    local_update(model, train, slower, steps=all_steps, seed=seed, household=household, round_=2)
    result = FineTuned(before, evaluate(model, held)["loss"], least_gain)
    if not result.kept:
        load_weights(model, shared)
    return result
