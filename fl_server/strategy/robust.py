"""Two robust averages that Flower does not ship: geometric median, and centred clipping.

Both hold one update per household in memory.
"""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.messages import encode_arrays, view_arrays
from fl_server.strategy.fedavg import FedAvg, mean_metrics, updates

Floats = NDArray[np.float64]


class _Collected(FedAvg):
    """FedAvg whose updates are gathered as rows of one table before they are averaged."""

    @abstractmethod
    def _average(self, start: Floats, rows: Floats, weights: Floats) -> Floats:
        """The new model (P,) from ``start`` (P,), updates ``rows`` (N, P), ``weights`` (N,)."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the model, and remember it: changes are measured from it."""
        self._start = {name: np.array(a, np.float64) for name, a in view_arrays(arrays).items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the replies, whatever order they came in."""
        found = sorted(updates(replies), key=lambda update: _flat_key(update.arrays))
        if not found:
            return None, None
        start = np.concatenate([a.reshape(-1) for _, a in sorted(self._start.items())])
        rows = np.stack(
            [np.concatenate([a.reshape(-1) for _, a in sorted(u.arrays.items())]) for u in found]
        ).astype(np.float64)
        weights = np.array([update.weight for update in found], np.float64)
        mean = self._average(start, rows, weights)
        arrays, at = {}, 0
        for name, array in sorted(self._start.items()):
            part = mean[at : at + array.size].astype(np.float32)
            arrays[name] = part.reshape(array.shape)
            at += array.size
        ordered = {name: arrays[name] for name in self._start}
        return encode_arrays(ordered), mean_metrics((u.weight, u.metrics) for u in found)


def _flat_key(arrays: dict[str, NDArray[np.float32]]) -> bytes:
    # Sums of floats depend on their order: that of the updates' bytes is nobody's arrival.
    return b"".join(a.tobytes() for _, a in sorted(arrays.items()))


@dataclass(eq=False)
class GeometricMedian(_Collected):
    """The point whose weighted distances to all updates are least in sum.

    Pillutla, Kakade and Harchaoui 2022, "Robust aggregation for federated learning"
    (arXiv:1912.13445), the smoothed Weiszfeld algorithm: ``steps`` of it, distances held at
    ``smoothing`` at least, as a share of the mean distance to the first mean.
    """

    steps: int = 8
    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.smoothing < 1:
            raise ValueError("steps of at least 1 and a smoothing between 0 and 1 are needed")
        self.steps, self.smoothing = int(self.steps), float(self.smoothing)

    def _average(self, start: Floats, rows: Floats, weights: Floats) -> Floats:
        del start
        share = weights / weights.sum()
        middle: Floats = share @ rows
        floor = self.smoothing * float(np.linalg.norm(rows - middle, axis=1).mean())
        for _ in range(self.steps):
            distance = np.maximum(np.linalg.norm(rows - middle, axis=1), max(floor, 1e-12))
            pull = share / distance
            middle = (pull / pull.sum()) @ rows
        return middle


@dataclass(eq=False)
class CentredClipping(_Collected):
    """Changes clipped to a radius round the mean change of the round before.

    Karimireddy, He and Jaggi 2021, "Learning from history for Byzantine robust optimization"
    (arXiv:2012.10333). ``radius`` is a multiple of the median distance to the centre, so that it
    needs no scale of its own; ``steps`` of clipping move the centre.
    """

    radius: float = 1.0
    steps: int = 3

    def __post_init__(self) -> None:
        if self.radius <= 0 or self.steps < 1:
            raise ValueError("a radius above 0 and steps of at least 1 are needed")
        self.radius, self.steps = float(self.radius), int(self.steps)
        self.centre: Floats | None = None

    def state(self) -> dict[str, object]:
        """The mean change of the newest round."""
        return {**super().state(), "centre": self.centre}

    def _average(self, start: Floats, rows: Floats, weights: Floats) -> Floats:
        share = weights / weights.sum()
        changes = rows - start
        centre = np.zeros_like(start) if self.centre is None else self.centre
        for _ in range(self.steps):
            away = changes - centre
            length = np.linalg.norm(away, axis=1)
            held = self.radius * float(np.median(length))
            factor = np.minimum(1.0, held / np.maximum(length, 1e-12))
            centre = centre + share @ (away * factor[:, None])
        self.centre = centre
        return start + centre
