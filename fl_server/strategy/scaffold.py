"""SCAFFOLD: control variates that take the drift of each household's data out of its steps.

Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", 2020
(arXiv:1910.06378). Households step along g - c_i + c, and send the change of their c_i; the server
moves x by the mean change of the model and c by |S|/N of the mean change of the c_i. Means are
weighted by training windows, as in FedAvg, so that c tends to the gradient of the same objective.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.messages import decode_arrays, encode_arrays, view_arrays
from common.model_messages import CONTROL
from fl_server.strategy.fedavg import FedAvg, mean_metrics, updates
from fl_server.strategy.fixed_point import WeightedSum


@dataclass(eq=False)
class Scaffold(FedAvg):
    """FedAvg with control variates. ``server_learning_rate`` scales the step of the model."""

    server_learning_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.server_learning_rate <= 0:
            raise ValueError(f"server_learning_rate {self.server_learning_rate} is not above 0")
        self.server_learning_rate = float(self.server_learning_rate)
        self.control: dict[str, NDArray[np.float32]] = {}
        self.households = 0

    def state(self) -> dict[str, object]:
        """The server's variate."""
        return {"control": self.control}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the model and the server's variate."""
        self._sent = decode_arrays(arrays)
        if not self.control:
            self.control = {name: np.zeros_like(a) for name, a in self._sent.items()}
        self.households = len(list(grid.get_node_ids()))
        messages = list(super().configure_train(server_round, arrays, config, grid))
        control = encode_arrays(self.control)
        for message in messages:
            message.content = RecordDict({**message.content, CONTROL: control})
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average models and changes of variates as they arrive."""
        total, change = WeightedSum(), WeightedSum()
        metrics: list[tuple[int, MetricRecord]] = []
        for update in updates(replies):
            record = update.content.array_records.get(CONTROL)
            if record is None:
                continue
            # Screening has held every array to the model's shapes.
            change.add(view_arrays(record), update.weight)
            total.add(update.arrays, update.weight)
            metrics.append((update.weight, update.metrics))
        if total.weight == 0:
            return None, None
        share = np.float32(min(1.0, len(metrics) / max(1, self.households)))
        moved = change.mean()
        self.control = {n: c + share * moved[n] for n, c in self.control.items()}
        mean = total.mean()
        if self.server_learning_rate != 1.0:
            rate = np.float32(self.server_learning_rate)
            mean = {n: self._sent[n] + rate * (mean[n] - self._sent[n]) for n in mean}
        return encode_arrays(mean), mean_metrics(metrics)
