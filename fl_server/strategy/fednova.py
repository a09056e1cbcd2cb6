"""FedNova: households that take more steps do not pull the model further than others.

Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
Optimization", 2020 (arXiv:2007.07481): with d_i = (x - y_i) / tau_i, the change per local step,
x+ = x - tau_eff sum_i p_i d_i and tau_eff = sum_i p_i tau_i. With equal numbers of steps this is
FedAvg.
"""

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from common.messages import decode_arrays, encode_arrays
from common.model_messages import TRAIN_STEPS
from fl_server.strategy.fedavg import FedAvg, mean_metrics, updates
from fl_server.strategy.fixed_point import WeightedSum


class FedNova(FedAvg):
    """Normalised averaging; households report the steps they took as ``train_steps``."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the model, and remember it: changes are counted from it."""
        self._sent = decode_arrays(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the changes per step as they arrive. Replies without steps do not count."""
        total = WeightedSum()
        metrics: list[tuple[int, MetricRecord]] = []
        steps_weighted = 0
        for update in updates(replies):
            steps = update.metrics.get(TRAIN_STEPS, 0)
            if not isinstance(steps, int | float) or not 1 <= steps <= 10**6:
                continue
            each = np.float32(1.0 / steps)
            change = {n: (a - self._sent[n]) * each for n, a in update.arrays.items()}
            total.add(change, update.weight)
            steps_weighted += update.weight * int(steps)
            metrics.append((update.weight, update.metrics))
        if total.weight == 0:
            return None, None
        effective = np.float32(steps_weighted / total.weight)
        mean = total.mean()
        moved = {n: self._sent[n] + effective * mean[n] for n in self._sent}
        return encode_arrays(moved), mean_metrics(metrics)
