"""One federated round: send the model out, aggregate what comes back, send the result out."""

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy

from common.cadence import HALF_HOUR, Cadence
from common.compression import parse_compression
from common.messages import (
    ARRAYS,
    CONFIG,
    METRICS,
    NUM_EXAMPLES,
    brief,
    decode_arrays,
    encode_arrays,
    view_arrays,
)
from common.model_messages import (
    CHANGE_CLIP,
    COMPRESSION,
    CONTROL,
    HEAD_STEPS,
    LOCAL_STEPS,
    ROUND,
    expand_reply,
)
from common.rng import generator
from common.secure.grid import length, mean
from common.secure.messages import METRICS as SUMMED
from fl_server.downlink import Downlink
from fl_server.exchange import exchange
from fl_server.late import Late
from fl_server.privacy import Privacy, Spent
from fl_server.roster import Roster
from fl_server.secure import SecureRound, SecureRoundError
from fl_server.strategy import averages
from fl_server.strategy.asynchronous import Asynchronous
from fl_server.strategy.fedavg import FedAvg, mean_metrics
from fl_server.strategy.fixed_point import largest_magnitude
from fl_server.strategy.lengths import Lengths
from fl_server.strategy.memory import to_json
from fl_server.strategy.screening import (
    MAX_EXAMPLES,
    MAX_STEPS,
    MAX_WEIGHT,
    Limits,
    Screening,
    Shapes,
    screen,
    screen_measures,
)

_TTL_MARGIN_S = 5.0
_LOG = logging.getLogger("fedwatt")


@dataclass
class RoundResult:
    """What a round did. ``arrays`` is the new global model, the old one where nothing came back.

    ``unreached``: households that the new model was sent to, and that did not say they have it.
    ``failed``: why the strategy made no model of the updates that came, if so.
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
    failed: str | None = None


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
    usable updates than ``min_replies`` leaves the model as it was, and so does a strategy that
    raises or returns what is no such model.

    What one household may do to the model is bounded: it counts for no more windows than
    ``history`` half hours and those of the run, whose intervals are ``cadence`` long, can give it
    (None: for 10^7), says of itself no
    more than ``local_steps`` of training and those the strategy adds, and moves the model no
    further than ``Lengths`` allows. With ``secure_run``, the run's name, updates arrive summed up
    (``fl_server.secure``) and each household holds its own change to that length.

    An ``Asynchronous`` strategy is handed answers to earlier rounds as well, the oldest first and
    then by name: a household that has not answered is asked for nothing else for ``late_s``.
    """

    def __init__(
        self,
        strategy: Strategy,
        roster: Roster,
        arrays: ArrayRecord,
        *,
        seed: int,
        max_update_bytes: int,
        deadline_s: float,
        compression: str = "none",
        privacy: Privacy | None = None,
        compression_down: str = "none",
        min_replies: int = 1,
        history: int | None = None,
        cadence: Cadence = HALF_HOUR,
        local_steps: int | None = None,
        secure_run: str | None = None,
        late_s: float = math.inf,
    ) -> None:
        self._late = Late(late_s) if isinstance(strategy, Asynchronous) else None
        self._newest_limits = Limits(max_update_bytes)
        self._secure_run = secure_run
        self._min_replies = min_replies
        self._history, self._local_steps = history, local_steps
        self._cadence = cadence
        self.lengths = {ARRAYS: Lengths(), CONTROL: Lengths()}
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

    def _exchange(
        self, messages: list[Message], share: float, late: Late | None = None
    ) -> Iterable[Message]:
        left = (self._until - time.monotonic()) * share
        deadline = max(min(self._deadline, left), 0.0)
        if math.isfinite(self._until):
            for message in messages:
                # A node that comes back later must not find a model of the past, but where an
                # update may start from one.
                stays = deadline if late is None else late.patience_s
                message.metadata.ttl = stays + _TTL_MARGIN_S
        return exchange(self.roster, messages, deadline, None if late is None else late.owed)

    def broadcast(self, round_: int, config: ConfigRecord) -> tuple[MetricRecord | None, int, int]:
        """Send the model to the strategy's evaluation sample.

        Returns (metrics, bytes sent, households that did not say they have it).
        """
        if self.downlink is not None:
            self.arrays = self.downlink.advance(round_, self.arrays)
        messages = list(self.strategy.configure_evaluate(round_, self.arrays, config, self.roster))
        if self.downlink is not None:
            messages = self.downlink.shorten(messages, self.arrays, self.roster, training=False)
        replies = self._exchange(messages, 1.0)
        sound, reached = screen_measures(replies, self._limits(config, messages))
        if self.downlink is not None:
            self.downlink.received(self.roster.name(node) for node in reached)
        metrics = self._evaluated(round_, self.roster.sorted(sound)) if sound else None
        return metrics, sum(_size(message) for message in messages), len(messages) - len(reached)

    def _evaluated(self, round_: int, sound: list[Message]) -> MetricRecord | None:
        try:
            return self.strategy.aggregate_evaluate(round_, sound)
        except Exception as error:  # a strategy of whoever wrote it
            _LOG.warning("round %s: evaluation: %s", round_, _said(error))
        records = [next(iter(reply.content.metric_records.values())) for reply in sound]
        return mean_metrics((int(r[NUM_EXAMPLES]), r) for r in records)  # type: ignore[arg-type]

    def run(self, round_: int, train: ConfigRecord, evaluate: ConfigRecord) -> RoundResult:
        """Train, aggregate and evaluate once."""
        begin = time.perf_counter()
        result = self.train(round_, train)
        evaluated, broadcast, unreached = self.broadcast(round_, evaluate)
        return replace(
            result,
            arrays=self.arrays,
            evaluate=evaluated,
            bytes_down=result.bytes_down + broadcast,
            seconds=time.perf_counter() - begin,
            unreached=unreached,
        )

    def train(self, round_: int, train: ConfigRecord) -> RoundResult:
        """Train and aggregate once; nobody is sent the new model yet."""
        begin = time.perf_counter()
        random.seed(int(generator(self._seed, "", round_, "strategy").integers(2**32)))
        train[COMPRESSION] = self.compression
        late, given_up = self._late, 0
        if isinstance(self.strategy, Asynchronous):
            assert late is not None
            given_up = late.give_up()
            self.strategy.owing = late.owing()
        messages = list(self.strategy.configure_train(round_, self.arrays, train, self.roster))
        if late is not None:
            late.ask(round_, messages)
        if self.privacy is not None:
            self.privacy.instruct(messages)
        sent = {m.metadata.dst_node_id: m.content.array_records[ARRAYS] for m in messages}
        limits = self._newest_limits = self._limits(train, messages)
        if self.downlink is not None:
            messages = self.downlink.shorten(messages, self.arrays, self.roster, training=True)
        down = sum(_size(message) for message in messages)
        screening = Screening()
        metrics, failed, counted = self._gather(round_, messages, sent, limits, screening)
        missing = len(messages) - screening.received if late is None else given_up
        screening.dropped["no reply"] += missing
        spent = None
        if self.privacy is not None:
            spent = self.privacy.spend(
                [self.roster.name(node) for node in sent],
                [self.roster.name(node) for node in counted],
                summed=self._secure_run is not None,
            )
        seconds = time.perf_counter() - begin
        return RoundResult(
            self.arrays, len(messages), screening, metrics, None, down, seconds, 0, spent, failed
        )

    def take_late(self, round_: int) -> Screening:
        """Use what has come since round ``round_``, the newest, without asking anybody.

        Under a synchronous strategy nothing that comes late is used.
        """
        screening = Screening()
        if self._late is not None and self._late.owed:
            until, self._until = self._until, -math.inf  # what has come, and nothing to wait for
            self._gather(round_, [], {}, self._newest_limits, screening)
            self._until = until
        return screening

    def _gather(
        self,
        round_: int,
        messages: list[Message],
        sent: Mapping[int, ArrayRecord],
        limits: Limits,
        screening: Screening,
    ) -> tuple[MetricRecord | None, str | None, list[int]]:
        """Send ``messages`` and make a model of what comes: (metrics, why there is none, nodes
        counted). ``sent``: the model each node has been sent whole."""
        model = view_arrays(self.arrays)
        zeros = {name: np.zeros_like(array) for name, array in model.items()}
        strategy, late = self.strategy, self._late

        def started(reply: Message) -> ArrayRecord:
            node = reply.metadata.src_node_id
            if late is None or not isinstance(strategy, Asynchronous):
                return sent[node]
            return strategy.sent(late.round_of(node))

        def expand(reply: Message) -> None:
            expand_reply(reply.content, started(reply))

        def shorten(reply: Message) -> None:
            records = reply.content.array_records
            bases = {ARRAYS: view_arrays(started(reply)), CONTROL: zeros}
            shorter = {
                kind: self.lengths[kind].shorten(view_arrays(record), bases[kind])
                for kind, record in records.items()
            }
            held = {kind: encode_arrays(a) for kind, a in shorter.items() if a is not None}
            if held:
                reply.content = RecordDict({**reply.content, **held})
                screening.clipped += 1
            if late is not None:
                began = late.round_of(reply.metadata.src_node_id)
                reply.content[CONFIG] = ConfigRecord({ROUND: began})
                screening.late += began < round_ or not messages

        for lengths in self.lengths.values():
            lengths.begin(model)
        shapes = {name: array.shape for name, array in model.items()}
        if self._secure_run is None:
            came = self._exchange(messages, 0.75, late)
            replies = _Watched(screen(came, shapes, limits, screening, expand, shorten))
            counted = replies.nodes
            arrays, metrics, failed = self._trained(round_, replies, shapes)
        else:
            summed = self._summed(round_, messages, shapes, screening)
            arrays, metrics, failed, counted = summed
        for lengths in self.lengths.values():
            lengths.end()
        if arrays is not None and screening.accepted >= self._min_replies:
            self.arrays = arrays
        return metrics, failed, counted

    def _limits(self, config: ConfigRecord, messages: Sequence[Message]) -> Limits:
        """The most that households can have when they answer these messages."""
        asked = [m.content.config_records[CONFIG] for m in messages]
        steps = MAX_STEPS
        if self._local_steps is not None:
            steps = max((_steps(o, self._local_steps) for o in asked), default=self._local_steps)
        examples, now = MAX_EXAMPLES, config.get("interval")
        if self._history is not None and isinstance(now, int):
            examples = self._history + self._cadence.half_hours(now + 1)
        told = self.privacy is None
        # Under privacy every household counts the same.
        return Limits(
            self._max_bytes,
            examples if told else 1,
            steps,
            told,
            any(CONTROL in message.content.array_records for message in messages),
        )

    def _trained(
        self, round_: int, replies: "_Watched", shapes: Shapes
    ) -> tuple[ArrayRecord | None, MetricRecord | None, str | None]:
        """The strategy's (model, metrics, why there is none)."""
        given: Iterable[Message] = replies
        if not isinstance(self.strategy, FedAvg):
            given = self.roster.sorted(replies)
        elif self._late is not None:
            given = sorted(self.roster.sorted(replies), key=_sent_in)
        try:
            arrays, metrics = self.strategy.aggregate_train(round_, given)
            if arrays is not None:
                arrays = _single(arrays)
                _check(arrays, shapes)
        except Exception as error:  # a strategy of whoever wrote it
            if replies.broken is not None:
                raise
            _LOG.warning("round %s: no new model: %s", round_, _said(error))
            return None, None, _said(error)
        return arrays, metrics, None

    def _summed(
        self, round_: int, messages: list[Message], shapes: Shapes, screening: Screening
    ) -> tuple[ArrayRecord | None, MetricRecord | None, str | None, list[int]]:
        """(model, metrics, why there is none, nodes counted) of a round that arrives summed up."""
        assert self._secure_run is not None
        bound = self.lengths[ARRAYS].bound
        for message in messages:
            if math.isfinite(bound):
                message.content.config_records[CONFIG][CHANGE_CLIP] = bound
        by_node = {message.metadata.dst_node_id: message for message in messages}
        labels = {node: (self.roster.index(node) or 0) + 1 for node in by_node}
        session = SecureRound(self._secure_run, round_, labels, self._phase)
        try:
            found = session.run(by_node, length(shapes, len(SUMMED)))
            arrays, weight, told = mean(found.total, shapes, len(SUMMED))
        except (SecureRoundError, ValueError) as error:
            _LOG.warning("round %s: no new model: %s", round_, _said(error))
            return None, None, _said(error), []
        finally:
            screening.bytes_up += session.bytes_up
            screening.dropped.update(Counter(session.faults.values()))
            # Who gave no reply is among those: it is not counted once more.
            screening.received = len(messages)
        screening.accepted = len(found.nodes)
        said = dict(zip(SUMMED, told, strict=True)) if self.privacy is None else {}
        metrics = MetricRecord({NUM_EXAMPLES: weight, **said})
        record = encode_arrays(arrays)
        if averages(self.strategy):
            return record, metrics, None, found.nodes
        content = RecordDict({ARRAYS: record, METRICS: metrics})
        reply = Message(content, reply_to=messages[0])
        made, metric, failed = self._trained(round_, _Watched([reply]), shapes)
        return made, metric, failed, found.nodes

    def _phase(self, messages: list[Message]) -> Iterable[Message]:
        """Of a round's time training has the most; the short questions have a tenth each."""
        training = messages[0].metadata.message_type == MessageType.TRAIN
        return self._exchange(messages, 0.6 if training else 0.1)

    def memory(self) -> dict[str, object]:
        """What has to survive a restart beside the model: the strategy's own state among it.

        Made of what ``fl_server/strategy/memory.py`` can write down. The attributes of a foreign
        strategy that are none of that are left out, and named in the log.
        """
        down = self.downlink
        return {
            "strategy": self._state(),
            "privacy": None if self.privacy is None else self.privacy.memory,
            "downlink": None if down is None else vars(down.state),
            "lengths": {kind: one.medians for kind, one in self.lengths.items()},
        }

    def _state(self) -> dict[str, object]:
        if isinstance(self.strategy, FedAvg):
            return self.strategy.state()
        kept, lost = {}, []
        for name, value in vars(self.strategy).items():
            try:
                to_json(value)
            except TypeError:
                # Functions are not what a strategy has learnt.
                if not callable(value):
                    lost.append(name)
            else:
                kept[name] = value
        if lost:
            _LOG.warning(
                "%s: a resumed run goes on without %s, which cannot be written down",
                type(self.strategy).__name__, ", ".join(lost),
            )  # fmt: skip
        return kept

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take over what ``memory`` has returned."""
        if isinstance(self.strategy, FedAvg):
            self.strategy.restore(memory["strategy"])
        else:
            vars(self.strategy).update(memory["strategy"])
        if self.privacy is not None and memory["privacy"] is not None:
            self.privacy.memory = memory["privacy"]
        if self.downlink is not None and memory["downlink"] is not None:
            vars(self.downlink.state).update(memory["downlink"])
        for kind, medians in memory["lengths"].items():
            self.lengths[kind].medians = medians


class _Watched:
    """Replies on their way to a strategy: whose they are, and what broke off their arrival."""

    def __init__(self, replies: Iterable[Message]) -> None:
        self._replies = replies
        self.nodes: list[int] = []
        self.broken: Exception | None = None

    def __iter__(self) -> Iterator[Message]:
        try:
            for reply in self._replies:
                self.nodes.append(reply.metadata.src_node_id)
                yield reply
        except Exception as error:
            self.broken = error
            raise


def _said(error: Exception) -> str:
    return brief(f"{type(error).__name__}: {error}")


def _sent_in(reply: Message) -> int:
    """The round whose model an update started from, as ``Rounds`` has noted it."""
    return int(reply.content.config_records[CONFIG][ROUND])  # type: ignore[arg-type]


def _steps(config: ConfigRecord, usual: int) -> int:
    """Steps of training that a message asks for."""
    asked, head = config.get(LOCAL_STEPS, usual), config.get(HEAD_STEPS, 0)
    return int(asked) + int(head)  # type: ignore[arg-type]


def _check(arrays: ArrayRecord, shapes: Shapes) -> None:
    """Raise ValueError where a strategy's result is no model of these shapes."""
    views = view_arrays(arrays)
    if {name: view.shape for name, view in views.items()} != shapes:
        raise ValueError("the strategy returned a model of other shapes")
    if not all(largest_magnitude(view) <= MAX_WEIGHT for view in views.values()):
        raise ValueError("the strategy returned a model with NaN, infinite or absurd weights")


def _single(arrays: ArrayRecord) -> ArrayRecord:
    """The model in float32: some of Flower's strategies return float64, twice the bytes."""
    if all(array.dtype == "float32" for array in arrays.values()):
        return arrays
    return encode_arrays({n: a.astype(np.float32) for n, a in decode_arrays(arrays).items()})


def scalar(metrics: MetricRecord | None, key: str) -> float | None:
    """Return a scalar metric, None where there is none that is finite."""
    value = None if metrics is None else metrics.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


__all__ = ["NUM_EXAMPLES", "RoundResult", "Rounds", "scalar"]
