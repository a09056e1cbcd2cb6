"""Clustered FedAvg: one model for each group of households whose updates point the same way.

Briggs, Fan and Andras, "Federated learning with hierarchical clustering of local updates", 2020
(arXiv:2004.11791): after ``warmup`` rounds of FedAvg the households' updates are clustered once,
by cosine distance, and FedAvg goes on inside each cluster. The server's model, for newcomers, is
the mean over all households.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.messages import ARRAYS, decode_arrays, encode_arrays
from fl_server.strategy.fedavg import FedAvg, Update, mean_metrics, roster_of, updates
from fl_server.strategy.fixed_point import WeightedSum

Weights = dict[str, NDArray[np.float32]]


@dataclass(eq=False)
class Clustered(FedAvg):
    """``clusters`` at most; households not heard in round ``warmup`` join the nearest later.

    In the round that clusters, the server holds one update per household.
    """

    clusters: int = 2
    warmup: int = 3

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.warmup < 1:
            raise ValueError("clusters and warmup must be at least 1")
        self.clusters, self.warmup = int(self.clusters), int(self.warmup)
        self.rounds = 0
        self.cluster_of: dict[str, int] = {}
        self.models: list[Weights] = []
        self.directions: list[NDArray[np.float32]] = []

    def state(self) -> dict[str, object]:
        """Who is in which cluster, and the clusters' models."""
        return {
            "rounds": self.rounds,
            "cluster_of": self.cluster_of,
            "models": self.models,
            "directions": self.directions,
        }

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each household the model of its cluster."""
        self._global = decode_arrays(arrays)
        return self._own(super().configure_train(server_round, arrays, config, grid), grid)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each household the model of its cluster."""
        return self._own(super().configure_evaluate(server_round, arrays, config, grid), grid)

    def _own(self, messages: Iterable[Message], grid: Grid) -> list[Message]:
        roster = roster_of(grid)
        self._names = {node: roster.name(node) for node in roster.get_node_ids()}
        records = [encode_arrays(model) for model in self.models]
        sent = list(messages)
        for message in sent:
            cluster = self.cluster_of.get(self._names[message.metadata.dst_node_id])
            if cluster is not None:
                message.content = RecordDict({**message.content, ARRAYS: records[cluster]})
        return sent

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average within clusters, and over all."""
        self.rounds += 1
        metrics: list[tuple[int, MetricRecord]] = []
        everyone = WeightedSum()
        sums = [WeightedSum() for _ in self.models]
        kept: list[tuple[str, Weights, int]] = []
        for update in updates(replies):
            everyone.add(update.arrays, update.weight)
            metrics.append((update.weight, update.metrics))
            name = self._names[update.node]
            if self.models:
                cluster = self._find(name, update)
                sums[cluster].add(update.arrays, update.weight)
            elif self.rounds >= self.warmup:
                kept.append((name, {n: a.copy() for n, a in update.arrays.items()}, update.weight))
        if everyone.weight == 0:
            return None, None
        if kept:
            # Names, not arrival, decide the order: clustering depends on it where distances tie.
            self._cluster(sorted(kept, key=lambda one: one[0]))
        for cluster, total in enumerate(sums):
            if total.weight:
                self.models[cluster] = total.mean()
        return encode_arrays(everyone.mean()), mean_metrics(metrics)

    def _find(self, name: str, update: Update) -> int:
        """The household's cluster; a newcomer joins the one whose direction is nearest."""
        if name not in self.cluster_of:
            move = _direction(update.arrays, self._global)
            self.cluster_of[name] = int(np.argmax([move @ d for d in self.directions]))
        return self.cluster_of[name]

    def _cluster(self, kept: list[tuple[str, Weights, int]]) -> None:
        moves = np.stack([_direction(arrays, self._global) for _, arrays, _ in kept])
        if len(kept) > 1:
            # Imported here: most runs cluster nothing, and it takes a third of a second.
            from scipy.cluster.hierarchy import fcluster, linkage

            tree = linkage(moves.astype(np.float64), method="average", metric="cosine")
            labels = fcluster(tree, self.clusters, criterion="maxclust") - 1
        else:
            labels = np.zeros(1, dtype=np.int64)
        for cluster in range(int(labels.max()) + 1):
            members = np.flatnonzero(labels == cluster)
            total = WeightedSum()
            for i in members:
                name, arrays, weight = kept[i]
                total.add(arrays, weight)
                self.cluster_of[name] = cluster
            self.models.append(total.mean())
            mean = moves[members].mean(axis=0)
            self.directions.append(mean / max(float(np.linalg.norm(mean)), 1e-12))


def _direction(arrays: Mapping[str, NDArray[np.float32]], base: Weights) -> NDArray[np.float32]:
    """The update as one vector of length 1; no update at all counts as a tiny constant one."""
    move = np.concatenate([np.ravel(arrays[name] - base[name]) for name in base])
    length = float(np.linalg.norm(move))
    unit = np.full_like(move, move.size**-0.5) if length == 0 else move / np.float32(length)
    return np.asarray(unit, dtype=np.float32)
