"""A problem with two parameters, small enough to derive every update by hand.

The model forecasts w[0] for each half hour of consumption and w[1] for each of the price; the
household's data are constant, a and b. Its loss is 0.6 (w0 - a)^2 + 0.4 |w1 - b|, so the gradient
is (1.2 (w0 - a), 0.4 sign(w1 - b)).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from common.config import Training
from common.forecast.presets import find_preset
from common.forecast.streams import STREAMS
from common.forecast.windows import Batch

RATE = 0.1
SGD = Training(
    optimiser="sgd", learning_rate=RATE, weight_decay=0.0, clip_norm=1e9, batch_size=1, device="cpu"
)


class Pair(nn.Module):
    """The model."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            stream: self.w[0 if kind == "consumption" else 1].expand(1, 1)
            for stream, (kind, _) in STREAMS.items()
        }


class Constant:
    """A household's windows: always the same batch, of which only the day is known."""

    def __init__(self, a: float, b: float, count: int = 1) -> None:
        self.preset = find_preset("slot")
        self._a, self._b, self._count = a, b, count

    def __len__(self) -> int:
        return self._count

    def draws(self, size: int, steps: int, rng: np.random.Generator) -> Iterator[Batch]:
        values = {"consumption": self._a, "price": self._b}
        targets = {s: np.full((1, 1), values[k], np.float32) for s, (k, _) in STREAMS.items()}
        masks = {s: np.array([[name == "day"]]) for s, (_, name) in STREAMS.items()}
        for _ in range(steps):
            yield Batch({"x": np.zeros((1, 1), np.float32)}, targets, masks)


def gradient(w: np.ndarray, a: float, b: float) -> np.ndarray:
    """Of the household's loss at w (2,)."""
    return np.array([1.2 * (w[0] - a), 0.4 * np.sign(w[1] - b)])


def weights(*values: float) -> dict[str, np.ndarray]:
    """The model's weights as a message carries them."""
    return {"w": np.array(values, np.float32)}
