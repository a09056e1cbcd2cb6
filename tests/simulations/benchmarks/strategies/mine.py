"""FedAvg that shortens every update to the median length before it takes the mean."""

from collections.abc import Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from common.messages import decode_arrays, encode_arrays
from fl_server.strategy.fedavg import FedAvg, mean_metrics, updates


class NormBounded(FedAvg):
    """A long update counts no more than one of median length; all count the same."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.sent = decode_arrays(arrays)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        found = sorted(updates(replies), key=lambda update: update.node)
        if not found:
            return None, None
        moves = [{n: a - self.sent[n] for n, a in u.arrays.items()} for u in found]
        lengths = [sum(float((m**2).sum()) for m in move.values()) ** 0.5 for move in moves]
        bound = float(np.median(lengths))
        shares = [np.float32(min(1.0, bound / max(x, 1e-12)) / len(found)) for x in lengths]
        new = {
            name: sent + sum(share * move[name] for share, move in zip(shares, moves, strict=True))
            for name, sent in self.sent.items()
        }
        return encode_arrays(new), mean_metrics([(u.weight, u.metrics) for u in found])
