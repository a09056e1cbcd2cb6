"""Households whose loss is a quadratic, and where each strategy ends on them by its formula.

Household i has H_i = sum_k w_k a_k a_k^T and g_i = sum_k w_k a_k t_k of rows a_k, targets t_k and
weights w_k: its loss is sum_k w_k (a_k x - t_k)^2 / 2, its gradient H_i x - g_i.

K steps of gradient descent at rate eta from z move it by -eta S (H z - g), with
S = sum_{k<K} (I - eta H)^k; with FedProx's term S is made of H + mu I in place of H. Averages with
shares p_i stand still where sum_i p_i S_i (H_i z - g_i) = 0 (Pathak and Wainwright 2020,
"FedSplit", arXiv:2005.05238, section 3, for least squares; Wang et al. 2020, arXiv:2007.07481, for
unequal numbers of steps): not where sum_i p_i (H_i z - g_i) = 0, unless all S_i are alike.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from common.arrays import Floats
from common.forecast.presets import Preset, find_preset
from common.forecast.windows import Batch
from common.rng import generator
from fl_client.participant import Participant
from fl_server.strategy import Option
from simulations.benchmarks.truth.federation import Federation, participants

_STREAM = "consumption_day"


@dataclass(frozen=True)
class Quadratic:
    """One household: rows (m, d), targets (m,), weights (m,), which may be below 0.

    It is what a household's windows are to training: every batch is all of it.
    """

    rows: Floats
    targets: Floats
    weights: Floats

    @property
    def curvature(self) -> Floats:
        """H, (d, d)."""
        return (self.rows * self.weights[:, None]).T @ self.rows

    @property
    def pull(self) -> Floats:
        """g, (d,)."""
        return (self.rows * self.weights[:, None]).T @ self.targets

    @property
    def preset(self) -> Preset:
        """Training asks it for precision alone: float32."""
        return find_preset("slot-small")

    def __len__(self) -> int:
        return len(self.rows)

    def draws(self, batch_size: int, steps: int, rng: np.random.Generator) -> Iterator[Batch]:
        """All rows, ``steps`` times."""
        del batch_size, rng
        one = _Whole(
            {"rows": self.rows[None].astype(np.float32)},
            {_STREAM: self.targets[None].astype(np.float32)},
            {},
            {_STREAM: 0.5 * self.weights[None].astype(np.float32)},
        )
        for _ in range(steps):
            yield one


@dataclass(frozen=True)
class _Whole(Batch):
    """A batch whose weights are given."""

    given: Mapping[str, np.ndarray]

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Of each target in the loss."""
        return dict(self.given)


class Linear(nn.Module):
    """x (d,), and its products with the rows."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(size))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(1, m) of rows (1, m, d)."""
        return {_STREAM: inputs["rows"] @ self.x}


@dataclass(frozen=True)
class Problem:
    """Quadratic households that all count the same, and where the model starts."""

    households: Sequence[Quadratic]
    start: Floats

    @property
    def optimum(self) -> Floats:
        """Where the mean loss is least."""
        curvature = np.sum([one.curvature for one in self.households], axis=0)
        found: Floats = np.linalg.solve(
            curvature, np.sum([one.pull for one in self.households], axis=0)
        )
        return found

    def standstill(
        self, rate: float, steps: Sequence[int], mu: float = 0.0, normalised: bool = False
    ) -> Floats:
        """Where averaging ends, by the formula above. ``normalised``: changes by their steps."""
        size = len(self.start)
        left, right = np.zeros((size, size)), np.zeros(size)
        for one, count in zip(self.households, steps, strict=True):
            local = np.eye(size) - rate * (one.curvature + mu * np.eye(size))
            series, power = np.zeros((size, size)), np.eye(size)
            for _ in range(count):
                series += power
                power = power @ local
            if normalised:
                series /= count
            left += series @ one.curvature
            right += series @ one.pull
        return np.asarray(np.linalg.solve(left, right), np.float64)

    def run(
        self,
        strategy: str,
        options: Mapping[str, Option],
        rate: float,
        steps: Sequence[int],
        rounds: int,
    ) -> "Course":
        """The models that a strategy of the product makes."""
        made = [self.start]
        with tempfile.TemporaryDirectory(prefix="fedwatt-truth-") as name:
            federation = Federation(
                participants(
                    Participant,
                    len(self.households),
                    Linear(len(self.start)),
                    rate,
                    0,
                    Path(name),
                ),
                self.households,
                {"x": self.start.astype(np.float32)},
                lambda k, _: steps[k],
            )
            federation.run(
                strategy,
                options,
                rounds,
                lambda _, weights: made.append(weights["x"].astype(np.float64)),
            )
        own = {n: w["x"].astype(np.float64) for n, w in federation.forecasting.items()}
        return Course(made, own)


@dataclass(frozen=True)
class Course:
    """The models (d,) from the first on, and what each household forecasts with at the end."""

    models: Sequence[Floats]
    own: Mapping[str, Floats]


def drifting(mu: float, dissimilarity: float) -> Problem:
    """f_1 = mu x^2 + G x and f_2 = -G x from x = 1: their mean is least at 0.

    The two households of the lower bound for FedAvg in Karimireddy et al. 2020
    (arXiv:1910.06378), theorem II. G x is G/4 ((x + 1)^2 - (x - 1)^2). The last row is a constant:
    a household that tells a loss below 0 is not heard.
    """
    rows, targets = np.array([[1.0], [1.0], [1.0], [0.0]]), np.array([0.0, -1.0, 1.0, 100.0])
    g = 0.5 * dissimilarity
    return Problem(
        [
            Quadratic(rows, targets, np.array([2.0 * mu, g, -g, 1.0])),
            Quadratic(rows, targets, np.array([0.0, -g, g, 1.0])),
        ],
        np.ones(1),
    )


def points(places: Sequence[Sequence[float]], start: Sequence[float] | None = None) -> Problem:
    """f_i = |x - e_i|^2 / 2, from x = 0 where no start is given."""
    size = len(places[0])
    return Problem(
        [Quadratic(np.eye(size), np.array(e), np.ones(size)) for e in places],
        np.zeros(size) if start is None else np.array(start),
    )


def least_squares(households: int, size: int, rows: int, spread: float, seed: int) -> Problem:
    """Linear regression where each household has features and a truth of its own.

    y = A (x_0 + ``spread`` u_i) + v with u_i and v normal, as in section 4.1 of Pathak and
    Wainwright 2020 but with a truth and, by a factor of 1/2 to 2 on A, a scale for each household.
    """
    truth = generator(seed, "", 0, "least squares").standard_normal(size)
    made = []
    for k in range(households):
        rng = generator(seed, f"H{k:02d}", 0, "least squares")
        a = rng.standard_normal((rows, size)) * 2.0 ** rng.uniform(-1.0, 1.0)
        own = truth + spread * rng.standard_normal(size)
        y = a @ own + 0.5 * rng.standard_normal(rows)
        made.append(Quadratic(a, y, np.full(rows, 1.0 / rows)))
    return Problem(made, np.zeros(size))
