"""A strategy of one's own, as docs/strategies.md shows it."""

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord

from common.messages import decode_arrays, encode_arrays
from fl_server.strategy.fedavg import FedAvg, mean_metrics, updates


class NormBounded(FedAvg):
    """FedAvg that scales every update down to the median length before it averages."""

    def configure_train(self, server_round, arrays, config, grid):  # type: ignore[no-untyped-def]
        self._sent = decode_arrays(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        found = sorted(updates(replies), key=lambda update: update.node)
        if not found:
            return None, None
        moves = [{n: a - self._sent[n] for n, a in u.arrays.items()} for u in found]
        lengths = [np.sqrt(sum(float((m**2).sum()) for m in move.values())) for move in moves]
        bound = float(np.median(lengths))
        factors = [min(1.0, bound / max(length, 1e-12)) / len(found) for length in lengths]
        new = {
            n: sent + sum(np.float32(f) * move[n] for f, move in zip(factors, moves, strict=True))
            for n, sent in self._sent.items()
        }
        return encode_arrays(new), mean_metrics([(u.weight, u.metrics) for u in found])
