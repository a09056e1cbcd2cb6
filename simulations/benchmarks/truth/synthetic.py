"""FedAvg and FedProx on synthetic(alpha, beta), and what the FedProx paper says of them there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fl_server.strategy import Option
from simulations.benchmarks.strategies.tables import Table
from simulations.benchmarks.truth import softmax
from simulations.benchmarks.truth.claims import Claim, rises

PAPER = "Li et al. 2020, section 5, figures 1 and 2"
SETS: dict[str, float | None] = {"IID": None, "0, 0": 0.0, "0.5, 0.5": 0.5, "1, 1": 1.0}
"""alpha and beta, as the paper has them."""
STRAGGLERS = 0.9
AVERAGED, PULLED = "FedAvg", "FedProx, mu = 1"
DROPPED, KEPT = "FedAvg, stragglers dropped", "FedProx, mu = 0"

_METHODS: dict[str, tuple[str, dict[str, Option], bool]] = {
    AVERAGED: ("fedavg", {}, True),
    PULLED: ("fedprox", {"proximal_mu": 1.0}, True),
    DROPPED: ("fedavg", {}, False),
    KEPT: ("fedprox", {"proximal_mu": 0.0}, True),
}

Key = tuple[str, str, float]
"""Data set, method, share of stragglers."""


@dataclass(frozen=True)
class Ended:
    """Of a method's last five rounds: training loss, test accuracy [1], dissimilarity."""

    loss: float
    accuracy: float
    dissimilarity: float


def train(rounds: int, seed: int, most: int = 0) -> dict[Key, Ended]:
    """Train each method on each set, and on (1, 1) with nine tenths of stragglers.

    ``most``: points of a device at most, 0: as the paper draws them.
    """
    found: dict[Key, Ended] = {}
    for name, size in SETS.items():
        devices = softmax.synthetic(size or 0.0, size or 0.0, seed, iid=size is None, most=most)
        runs = [(AVERAGED, 0.0), (PULLED, 0.0)]
        if name == "1, 1":
            runs += [(DROPPED, STRAGGLERS), (KEPT, STRAGGLERS), (PULLED, STRAGGLERS)]
        for method, stragglers in runs:
            strategy, options, keep = _METHODS[method]
            curve = softmax.run(devices, strategy, options, rounds, seed, stragglers, keep)
            found[name, method, stragglers] = Ended(
                curve.end(curve.loss), curve.end(curve.accuracy), curve.end(curve.dissimilarity)
            )
    return found


def means(seeds: Sequence[dict[Key, Ended]]) -> dict[Key, Ended]:
    """Means over seeds."""

    def mean(key: Key, of: Callable[[Ended], float]) -> float:
        return float(np.mean([of(one[key]) for one in seeds]))

    return {
        key: Ended(
            mean(key, lambda e: e.loss),
            mean(key, lambda e: e.accuracy),
            mean(key, lambda e: e.dissimilarity),
        )
        for key in seeds[0]
    }


def claims(found: dict[Key, Ended]) -> Iterator[Claim]:
    """The paper's sentences against what was trained."""
    name = "synthetic(alpha, beta)"
    yield rises(name, PAPER, "FedAvg's loss grows with heterogeneity: IID; 0, 0; 0.5, 0.5; 1, 1",
                [found[data, AVERAGED, 0.0].loss for data in SETS])  # fmt: skip
    yield rises(name, PAPER, "dissimilarity of gradients grows likewise",
                [found[data, AVERAGED, 0.0].dissimilarity for data in SETS])  # fmt: skip
    yield rises(name, PAPER, "on IID data mu = 1 is slower: loss of mu = 0, 1",
                [found["IID", method, 0.0].loss for method in (AVERAGED, PULLED)])  # fmt: skip
    for data in list(SETS)[1:]:
        yield rises(name, PAPER, f"({data}): mu = 1 has the lower loss: of mu = 1, 0",
                    [found[data, method, 0.0].loss for method in (PULLED, AVERAGED)])  # fmt: skip
        yield rises(name, PAPER, f"({data}): and the lower dissimilarity: of mu = 1, 0",
                    [found[data, m, 0.0].dissimilarity for m in (PULLED, AVERAGED)])  # fmt: skip
    slow = [found["1, 1", method, STRAGGLERS] for method in (PULLED, KEPT, DROPPED)]
    yield rises(
        name,
        PAPER,
        "(1, 1), 90 % stragglers: loss of mu = 1, of mu = 0 with their part, of FedAvg without",
        [one.loss for one in slow],
    )
    gain = slow[0].accuracy - slow[2].accuracy
    yield Claim(
        name,
        PAPER,
        "(1, 1), 90 % stragglers: accuracy of FedProx above FedAvg's",
        "above 0; 22 points in the mean of the paper's five data sets",
        f"{100 * gain:.1f} points",
        gain > 0,
    )


def table(found: dict[Key, Ended], rounds: int, seeds: int) -> Table:
    """What was trained, as a table."""
    lines = [
        [data, method, f"{100 * slow:.0f} %", f"{one.loss:.3f}", f"{100 * one.accuracy:.1f} %",
         f"{one.dissimilarity:.3f}"]
        for (data, method, slow), one in found.items()
    ]  # fmt: skip
    return Table(
        "synthetic(alpha, beta): 30 devices, 10 asked a round, 20 epochs of batches of 10",
        ("alpha, beta", "method", "stragglers", "loss", "test accuracy", "dissimilarity"),
        lines,
        f"After {rounds} rounds (the paper: 200), means of the last five and of {seeds} seeds. "
        "Dissimilarity: mean squared distance of the devices' gradients from their mean.",
    )
