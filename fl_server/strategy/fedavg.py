"""The project's FedAvg: streaming, independent of arrival order, sampled by household name.

McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
2017 (arXiv:1602.05629): the new model is the mean of the households' models, weighted by the
number of their training windows. Memory on the server is one model however many reply.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from common.messages import ARRAYS, CONFIG, NUM_EXAMPLES, encode_arrays, view_arrays
from common.model_messages import ROUND
from common.rng import generator
from fl_server.roster import Roster
from fl_server.strategy.fixed_point import WeightedSum


def mean_metrics(weighted: Iterable[tuple[int, MetricRecord]]) -> MetricRecord:
    """Mean of scalar metrics weighted by examples, summed without rounding (math.fsum).

    A metric counts over the replies that have it; NUM_EXAMPLES becomes the total.
    """
    rows = list(weighted)
    mean = MetricRecord({NUM_EXAMPLES: sum(weight for weight, _ in rows)})
    for key in sorted({key for _, metrics in rows for key in metrics} - {NUM_EXAMPLES}):
        terms = [(w, m[key]) for w, m in rows if isinstance(m.get(key), int | float)]
        if terms:
            total = math.fsum(w for w, _ in terms)
            mean[key] = math.fsum(w * float(v) for w, v in terms) / total  # type: ignore[arg-type]
    return mean


class Update(NamedTuple):
    """A household's reply: its trained weights, their weight in the mean, and its metrics."""

    node: int
    arrays: dict[str, NDArray[np.float32]]
    weight: int
    metrics: MetricRecord
    content: RecordDict


def updates(replies: Iterable[Message]) -> Iterator[Update]:
    """Read the replies one by one, error replies left out."""
    for reply in replies:
        if reply.has_error():
            continue
        record = next(iter(reply.content.metric_records.values()))
        arrays = reply.content[ARRAYS]
        assert isinstance(arrays, ArrayRecord)
        yield Update(
            reply.metadata.src_node_id,
            view_arrays(arrays),
            int(record[NUM_EXAMPLES]),  # type: ignore[arg-type]
            record,
            reply.content,
        )


@dataclass(eq=False)
class FedAvg(Strategy):
    """Federated averaging over households.

    ``fraction_train`` and ``fraction_evaluate`` are shares of the roster, rounded up, so that
    a positive share always samples somebody. The sample of a round depends on
    ``(seed, round)`` and the households' names alone.
    """

    fraction_train: float = 1.0
    fraction_evaluate: float = 1.0
    seed: int = 0

    def sample(self, grid: Grid, fraction: float, round_: int, purpose: str) -> list[int]:
        """Node ids of a share of the households, sorted by name."""
        nodes = list(grid.get_node_ids())
        count = math.ceil(fraction * len(nodes) - 1e-9)
        if count >= len(nodes):
            return nodes
        chosen = generator(self.seed, "", round_, purpose).choice(len(nodes), count, replace=False)
        return [nodes[i] for i in sorted(chosen)]

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Say in the config what households shall do beside plain training; here nothing."""

    def state(self) -> dict[str, object]:
        """What must survive a restart beside the model, by name; here nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state`` has returned; raises ValueError for other names."""
        if state.keys() != self.state().keys():
            raise ValueError(f"{type(self).__name__} does not remember {sorted(state)}")
        vars(self).update(state)

    def _messages(
        self,
        round_: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        nodes: Iterable[int],
        message_type: str,
    ) -> list[Message]:
        config[ROUND] = round_
        self.instruct(config, arrays)
        content = RecordDict({ARRAYS: arrays, CONFIG: config})
        return [Message(content, node, message_type, group_id=str(round_)) for node in nodes]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the model to this round's sample."""
        nodes = self.sample(grid, self.fraction_train, server_round, "sample train")
        return self._messages(server_round, arrays, config, nodes, MessageType.TRAIN)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the replies one by one as they arrive."""
        total = WeightedSum()
        metrics: list[tuple[int, MetricRecord]] = []
        for update in updates(replies):
            total.add(update.arrays, update.weight)
            metrics.append((update.weight, update.metrics))
        if total.weight == 0:
            return None, None
        return encode_arrays(total.mean()), mean_metrics(metrics)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the new model to this round's sample."""
        nodes = self.sample(grid, self.fraction_evaluate, server_round, "sample evaluate")
        return self._messages(server_round, arrays, config, nodes, MessageType.EVALUATE)

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Average the households' evaluation metrics."""
        rows = []
        for reply in replies:
            if reply.has_error():
                continue
            record = next(iter(reply.content.metric_records.values()))
            rows.append((int(record[NUM_EXAMPLES]), record))  # type: ignore[arg-type]
        return mean_metrics(rows) if rows else None

    def summary(self) -> None:
        """Nothing to log: the run directory holds the settings."""


def roster_of(grid: Grid) -> Roster:
    """Return the grid as a Roster; raises TypeError where a strategy needs names and has none."""
    if not isinstance(grid, Roster):
        raise TypeError("this strategy needs a Roster, which knows the households' names")
    return grid
