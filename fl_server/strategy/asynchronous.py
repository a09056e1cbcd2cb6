"""Strategies that use an update whenever it comes, whatever model it started from.

A household that has answered is handed the newest model, and nobody waits for the slowest. The
staleness of an update is the number of steps the model has made since it was sent out.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid

from common.arrays import Floats32
from common.messages import CONFIG, decode_arrays, encode_arrays, view_arrays
from common.model_messages import ROUND
from common.rng import generator
from fl_server.strategy.fedavg import FedAvg, mean_metrics, updates

Arrays = Mapping[str, Floats32]

STALENESS = "staleness"
"""Metric of a round: mean staleness of the updates it used [steps of the model]."""


@dataclass(eq=False)
class Asynchronous(FedAvg):
    """What a kind of its own adds is ``take``.

    ``fraction_train`` is the share of households that are at work at a time. ``owing`` says which
    nodes are, by the round of the model they were sent; whoever runs the rounds keeps it, and marks
    each reply with that round, as ``ROUND`` in its config record.
    """

    def __post_init__(self) -> None:
        self.version = 0
        self.owing: Mapping[int, int] = {}
        self._sent: dict[int, tuple[int, ArrayRecord]] = {}
        self._model: Arrays = {}

    def state(self) -> dict[str, object]:
        """How many steps the model has made."""
        return {"version": self.version}

    @abstractmethod
    def take(
        self, model: Arrays, trained: Arrays, started: Arrays, staleness: int
    ) -> Arrays | None:
        """Use one update, from ``started`` to ``trained``; the new model, None where it stays."""

    def sent(self, round_: int) -> ArrayRecord:
        """The model that was sent out in a round which somebody may still answer."""
        return self._sent[round_][1]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the newest model to those who are idle, as many as may be at work."""
        self._model = decode_arrays(arrays)
        wanted = set(self.owing.values())
        self._sent = {r: model for r, model in self._sent.items() if r in wanted}
        self._sent[server_round] = (self.version, arrays)
        nodes = list(grid.get_node_ids())
        idle = [node for node in nodes if node not in self.owing]
        most = math.ceil(self.fraction_train * len(nodes) - 1e-9)
        count = most - (len(nodes) - len(idle))
        if count < len(idle):
            draw = generator(self.seed, "", server_round, "sample train")
            chosen = draw.choice(len(idle), max(count, 0), replace=False)
            idle = [idle[i] for i in sorted(chosen)]
        return self._messages(server_round, arrays, config, idle, MessageType.TRAIN)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Use the updates one after the other, in the order given."""
        rows: list[tuple[int, MetricRecord]] = []
        stale: list[int] = []
        moved = False
        for update in updates(replies):
            version, record = self._sent[int(update.content.config_records[CONFIG][ROUND])]  # type: ignore[arg-type]
            stale.append(self.version - version)
            new = self.take(self._model, update.arrays, view_arrays(record), stale[-1])
            if new is not None:
                self._model, moved = new, True
                self.version += 1
            rows.append((update.weight, update.metrics))
        if not rows:
            return None, None
        metrics = mean_metrics(rows)
        metrics[STALENESS] = sum(stale) / len(stale)
        return (encode_arrays(dict(self._model)) if moved else None), metrics
