"""One federated round: send the model out, aggregate what comes back, send the result out."""

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import Strategy

from common.messages import NUM_EXAMPLES
from common.rng import generator
from fl_server.exchange import exchange
from fl_server.roster import Roster
from fl_server.strategy.fedavg import FedAvg
from fl_server.strategy.screening import Screening, screen


@dataclass
class RoundResult:
    """What a round did. ``arrays`` is the new global model, the old one where nothing came back."""

    arrays: ArrayRecord
    sampled: int
    screening: Screening
    train: MetricRecord | None
    evaluate: MetricRecord | None
    bytes_down: int
    seconds: float


def _size(message: Message) -> int:
    return sum(
        len(array.data)
        for record in message.content.array_records.values()
        for array in record.values()
    )


class Rounds:
    """Runs a strategy's rounds over a roster.

    ``arrays`` is the current global model. Any ``flwr.serverapp.strategy.Strategy`` will do: those
    that sample with the global ``random`` are seeded per round, and get their replies in the
    order of household names, so that a seed fixes their result as well.
    """

    def __init__(
        self,
        strategy: Strategy,
        roster: Roster,
        arrays: ArrayRecord,
        seed: int,
        max_update_bytes: int,
        deadline_s: float,
    ) -> None:
        self.strategy = strategy
        self.roster = roster
        self.arrays = arrays
        self._seed = seed
        self._max_bytes = max_update_bytes
        self._deadline = deadline_s

    def broadcast(self, round_: int, config: ConfigRecord) -> tuple[MetricRecord | None, int]:
        """Send the model to the strategy's evaluation sample; returns (metrics, bytes sent)."""
        messages = list(self.strategy.configure_evaluate(round_, self.arrays, config, self.roster))
        replies = self.roster.sorted(exchange(self.roster, messages, self._deadline))
        sound = [r for r in replies if not r.has_error() and len(r.content.metric_records) == 1]
        metrics = self.strategy.aggregate_evaluate(round_, sound) if sound else None
        return metrics, sum(_size(message) for message in messages)

    def run(self, round_: int, train: ConfigRecord, evaluate: ConfigRecord) -> RoundResult:
        """Train, aggregate and evaluate once."""
        begin = time.perf_counter()
        random.seed(int(generator(self._seed, "", round_, "strategy").integers(2**32)))
        messages = list(self.strategy.configure_train(round_, self.arrays, train, self.roster))
        down = sum(_size(message) for message in messages)
        shapes = {name: tuple(array.shape) for name, array in self.arrays.items()}
        screening = Screening()
        replies: Iterable[Message] = screen(
            exchange(self.roster, messages, self._deadline), shapes, self._max_bytes, screening
        )
        if not isinstance(self.strategy, FedAvg):
            replies = self.roster.sorted(replies)
        arrays, metrics = self.strategy.aggregate_train(round_, replies)
        screening.dropped["no reply"] += len(messages) - screening.received
        if arrays is not None:
            self.arrays = arrays
        evaluated, sent = self.broadcast(round_, evaluate)
        seconds = time.perf_counter() - begin
        return RoundResult(
            self.arrays, len(messages), screening, metrics, evaluated, down + sent, seconds
        )


def scalar(metrics: MetricRecord | None, key: str) -> float | None:
    """Return a scalar metric, None where there is none."""
    value = None if metrics is None else metrics.get(key)
    return float(value) if isinstance(value, int | float) else None


__all__ = ["NUM_EXAMPLES", "RoundResult", "Rounds", "scalar"]
