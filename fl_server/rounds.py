"""One federated round: send the model out, aggregate what comes back, send the result out."""

import math
import pickle
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import Strategy

from common.compression import parse_compression
from common.messages import ARRAYS, NUM_EXAMPLES, decode_arrays, encode_arrays
from common.model_messages import COMPRESSION, expand_reply
from common.rng import generator
from fl_server.downlink import Downlink
from fl_server.exchange import exchange
from fl_server.privacy import Privacy, Spent
from fl_server.roster import Roster
from fl_server.strategy.fedavg import FedAvg
from fl_server.strategy.screening import Screening, screen

_TTL_MARGIN_S = 5.0


@dataclass
class RoundResult:
    """What a round did. ``arrays`` is the new global model, the old one where nothing came back.

    ``unreached``: households that the new model was sent to, and that did not say they have it.
    """

    arrays: ArrayRecord
    sampled: int
    screening: Screening
    train: MetricRecord | None
    evaluate: MetricRecord | None
    bytes_down: int
    seconds: float
    unreached: int
    spent: Spent | None = None


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
    order of household names, so that a seed fixes their result as well. ``compression`` and
    ``privacy`` go with any strategy: households compress, clip and noise what they send, and
    weights are back in place before the strategy sees them. ``compression_down`` sends changes of
    the model down; a household that held another model is sent the whole one. A round with fewer
    usable updates than ``min_replies`` leaves the model as it was.
    """

    def __init__(
        self,
        strategy: Strategy,
        roster: Roster,
        arrays: ArrayRecord,
        seed: int,
        max_update_bytes: int,
        deadline_s: float,
        compression: str = "none",
        privacy: Privacy | None = None,
        compression_down: str = "none",
        min_replies: int = 1,
    ) -> None:
        self._min_replies = min_replies
        parse_compression(compression)
        down = parse_compression(compression_down)
        self.downlink = Downlink(down) if down.active else None
        self.compression = compression
        self.privacy = privacy
        self.strategy = strategy
        self.roster = roster
        self.arrays = arrays
        self._seed = seed
        self._max_bytes = max_update_bytes
        self._deadline = deadline_s
        self._until = math.inf

    def limit(self, seconds: float) -> None:
        """Let what follows take this long in all; a quarter is kept for sending the result out."""
        self._until = time.monotonic() + seconds

    def _exchange(self, messages: list[Message], share: float) -> Iterable[Message]:
        left = (self._until - time.monotonic()) * share
        deadline = max(min(self._deadline, left), 0.0)
        if math.isfinite(self._until):
            for message in messages:
                # A node that comes back later must not find a model of the past.
                message.metadata.ttl = deadline + _TTL_MARGIN_S
        return exchange(self.roster, messages, deadline)

    def broadcast(self, round_: int, config: ConfigRecord) -> tuple[MetricRecord | None, int, int]:
        """Send the model to the strategy's evaluation sample.

        Returns (metrics, bytes sent, households that did not say they have it).
        """
        if self.downlink is not None:
            self.arrays = self.downlink.advance(round_, self.arrays)
        messages = list(self.strategy.configure_evaluate(round_, self.arrays, config, self.roster))
        if self.downlink is not None:
            messages = self.downlink.shorten(messages, self.arrays, self.roster, training=False)
        replies = self.roster.sorted(self._exchange(messages, 1.0))
        if self.downlink is not None:
            heard = [r.metadata.src_node_id for r in replies if not r.has_error()]
            self.downlink.received(self.roster.name(node) for node in heard)
        sound = [r for r in replies if not r.has_error() and len(r.content.metric_records) == 1]
        metrics = self.strategy.aggregate_evaluate(round_, sound) if sound else None
        return metrics, sum(_size(message) for message in messages), len(messages) - len(sound)

    def run(self, round_: int, train: ConfigRecord, evaluate: ConfigRecord) -> RoundResult:
        """Train, aggregate and evaluate once."""
        begin = time.perf_counter()
        random.seed(int(generator(self._seed, "", round_, "strategy").integers(2**32)))
        train[COMPRESSION] = self.compression
        messages = list(self.strategy.configure_train(round_, self.arrays, train, self.roster))
        if self.privacy is not None:
            self.privacy.instruct(messages)
        sent = {m.metadata.dst_node_id: m.content.array_records[ARRAYS] for m in messages}
        if self.downlink is not None:
            messages = self.downlink.shorten(messages, self.arrays, self.roster, training=True)
        down = sum(_size(message) for message in messages)
        shapes = {name: tuple(array.shape) for name, array in self.arrays.items()}
        screening = Screening()

        def expand(reply: Message) -> None:
            node = reply.metadata.src_node_id
            if node not in sent:
                raise ValueError("a reply that was not asked for")
            expand_reply(reply.content, sent[node])

        counted: list[str] = []
        screened = screen(
            self._exchange(messages, 0.75),
            shapes,
            self._max_bytes,
            screening,
            expand,
        )
        replies: Iterable[Message] = self._noting(screened, counted)
        if not isinstance(self.strategy, FedAvg):
            replies = self.roster.sorted(replies)
        arrays, metrics = self.strategy.aggregate_train(round_, replies)
        screening.dropped["no reply"] += len(messages) - screening.received
        if arrays is not None and screening.accepted >= self._min_replies:
            self.arrays = _single(arrays)
        spent = None
        if self.privacy is not None:
            spent = self.privacy.spend([self.roster.name(node) for node in sent], counted)
        evaluated, broadcast, unreached = self.broadcast(round_, evaluate)
        seconds = time.perf_counter() - begin
        return RoundResult(
            self.arrays,
            len(messages),
            screening,
            metrics,
            evaluated,
            down + broadcast,
            seconds,
            unreached,
            spent,
        )

    def _noting(self, replies: Iterable[Message], names: list[str]) -> Iterator[Message]:
        """Pass replies on and note whose they are."""
        for reply in replies:
            names.append(self.roster.name(reply.metadata.src_node_id))
            yield reply

    def memory(self) -> dict[str, object]:
        """What has to survive a restart beside the model: the strategy's own and the privacy spent.

        Attributes of a strategy that cannot be written down are left out.
        """
        kept: dict[str, object] = {}
        for name, value in vars(self.strategy).items():
            try:
                pickle.dumps(value)
            except (pickle.PicklingError, TypeError, AttributeError):
                continue
            kept[name] = value
        return {
            "strategy": kept,
            "privacy": self.privacy and self.privacy.memory,
            "downlink": self.downlink and self.downlink.state,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take over what ``memory`` has returned."""
        vars(self.strategy).update(memory["strategy"])
        if self.privacy is not None and memory["privacy"] is not None:
            self.privacy.memory = memory["privacy"]
        if self.downlink is not None and memory["downlink"] is not None:
            self.downlink.state = memory["downlink"]


def _single(arrays: ArrayRecord) -> ArrayRecord:
    """The model in float32: some of Flower's strategies return float64, twice the bytes."""
    if all(array.dtype == "float32" for array in arrays.values()):
        return arrays
    return encode_arrays({n: a.astype(np.float32) for n, a in decode_arrays(arrays).items()})


def scalar(metrics: MetricRecord | None, key: str) -> float | None:
    """Return a scalar metric, None where there is none."""
    value = None if metrics is None else metrics.get(key)
    return float(value) if isinstance(value, int | float) else None


__all__ = ["NUM_EXAMPLES", "RoundResult", "Rounds", "scalar"]
