"""What households send in a model round, read before any strategy sees it.

An update that cannot be averaged is dropped and counted; of the others a strategy is handed what
households of this project send, and nothing beside it. Whatever a reply is made of, reading it
raises nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import SType

from common.messages import (
    ARRAYS,
    METRICS,
    NUM_EXAMPLES,
    view_arrays,
)
from common.model_messages import CONTROL, TRAIN_STEPS
from fl_server.strategy.fixed_point import largest_magnitude

MAX_EXAMPLES = 10**7
MAX_STEPS = 10**6
MAX_WEIGHT = 1e4
"""Magnitude beyond which no network's weight is sensible, and sums of many would overflow."""
MAX_LOSS = 1e6
"""Losses are of scaled series: a forecast of nothing has about 1."""

TRAIN_LOSS = "train_loss"
VAL_LOSS = "val_loss"
VAL_STREAMS = ("val_consumption_day", "val_price_day")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Limits:
    """The most that a household can have in a round.

    ``max_bytes`` of arrays; ``examples``: windows of its data; ``steps`` of training. ``told``:
    whether losses are sent (under privacy they are not). ``control``: whether a control variate
    was asked for.
    """

    max_bytes: int
    examples: int = MAX_EXAMPLES
    steps: int = MAX_STEPS
    told: bool = True
    control: bool = False


@dataclass
class Screening:
    """What one round received and refused, and how many changes were shortened.

    ``late``: updates among the accepted that answer an earlier round.
    """

    received: int = 0
    accepted: int = 0
    clipped: int = 0
    late: int = 0
    bytes_up: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class UnsoundError(ValueError):
    """A reply that is left out, by the reason it is counted under."""


Adjust = Callable[[Message], None]
"""Changes a reply's content in place; raises ValueError where it cannot."""


def screen(
    replies: Iterable[Message],
    shapes: Shapes,
    limits: Limits,
    report: Screening,
    expand: Adjust = lambda _: None,
    shorten: Adjust = lambda _: None,
) -> Iterator[Message]:
    """Pass on the replies that carry a usable update; count the rest by reason in ``report``.

    ``shapes`` are those of the global model by array name; every record of arrays in a reply must
    have them. ``expand`` puts weights in the place of compressed ones, ``shorten`` bounds what an
    update changes. One reply is held at a time.
    """
    for reply in replies:
        report.received += 1
        try:
            if reply.has_error():
                raise UnsoundError("error reply")
            size = _size(reply.content)
            report.bytes_up += size
            if size > limits.max_bytes:
                raise UnsoundError("oversized")
            try:
                expand(reply)
            except Exception:
                raise UnsoundError("unreadable compressed update") from None
            reply.content = _update(reply.content, shapes, limits)
            shorten(reply)
        except UnsoundError as error:
            report.dropped[str(error)] += 1
            continue
        except Exception as error:  # parsers of strangers' bytes raise what they like
            report.dropped[f"unreadable: {type(error).__name__}"] += 1
            continue
        report.accepted += 1
        yield reply


def screen_measures(replies: Iterable[Message], limits: Limits) -> tuple[list[Message], list[int]]:
    """Return the replies that say how well a model does, and the nodes that have received it.

    A household without data to measure on says so with 0 examples: it has the model, and counts
    for nothing.
    """
    sound, reached = [], []
    for reply in replies:
        try:
            if reply.has_error():
                continue
            content = reply.content
            if len(content.metric_records) != 1:
                continue
            given = next(iter(content.metric_records.values()))
            if _whole(given, NUM_EXAMPLES, 0, limits.examples) > 0:
                reply.content = RecordDict({METRICS: _measures(given, limits)})
                sound.append(reply)
            reached.append(reply.metadata.src_node_id)
        except Exception:  # parsers of strangers' bytes raise what they like
            continue
    return sound, reached


def _size(content: RecordDict) -> int:
    return sum(
        len(array.data) for record in content.array_records.values() for array in record.values()
    )


def _update(content: RecordDict, shapes: Shapes, limits: Limits) -> RecordDict:
    """What a sound update holds, and nothing more. Raises UnsoundError."""
    asked = [ARRAYS, CONTROL] if limits.control else [ARRAYS]
    if sorted(content.array_records) != sorted(asked) or len(content.metric_records) != 1:
        raise UnsoundError("wrong records")
    metrics = _trained(next(iter(content.metric_records.values())), limits)
    sound = {name: _weights(content.array_records[name], shapes) for name in asked}
    return RecordDict({**sound, METRICS: metrics})


def _trained(given: MetricRecord, limits: Limits) -> MetricRecord:
    """The metrics of a training, of known names alone: strategies refuse replies that differ."""
    examples = _whole(given, NUM_EXAMPLES, 1, limits.examples)
    if not limits.told:
        return MetricRecord({NUM_EXAMPLES: examples})
    return MetricRecord(
        {
            NUM_EXAMPLES: examples,
            TRAIN_LOSS: _loss(given, TRAIN_LOSS),
            TRAIN_STEPS: _whole(given, TRAIN_STEPS, 1, limits.steps),
        }
    )


def _measures(given: MetricRecord, limits: Limits) -> MetricRecord:
    """The metrics of an evaluation, of known names alone. Raises UnsoundError."""
    kept = MetricRecord({NUM_EXAMPLES: _whole(given, NUM_EXAMPLES, 1, limits.examples)})
    if limits.told:
        kept[VAL_LOSS] = _loss(given, VAL_LOSS)
        for name in VAL_STREAMS:
            # A stream without any known target has no loss.
            if name in given:
                kept[name] = _loss(given, name)
    return kept


def _whole(given: MetricRecord, name: str, least: int, most: int) -> int:
    value = given.get(name)
    if type(value) is not int or not least <= value <= most:
        what = "examples" if name == NUM_EXAMPLES else "steps"
        raise UnsoundError(f"no or absurd number of {what}")
    return value


def _loss(given: MetricRecord, name: str) -> float:
    value = given.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UnsoundError("missing metrics")
    if not 0 <= value < float("inf"):
        raise UnsoundError("NaN or infinite metrics")
    if value > MAX_LOSS:
        raise UnsoundError("absurdly large metrics")
    return float(value)


def _weights(record: ArrayRecord, shapes: Shapes) -> ArrayRecord:
    """The record with its arrays in the order of ``shapes``, described as they are."""
    try:
        views = view_arrays(record)
    except ValueError:
        raise UnsoundError("unreadable array") from None
    if {name: view.shape for name, view in views.items()} != shapes:
        raise UnsoundError("wrong shape")
    if any(view.dtype != np.float32 for view in views.values()):
        raise UnsoundError("weights that are no floats")
    largest = max((largest_magnitude(view) for view in views.values()), default=0.0)
    if not largest < float("inf"):
        raise UnsoundError("NaN or infinite weights")
    if largest > MAX_WEIGHT:
        raise UnsoundError("absurdly large weights")
    # The order in which strategies go through a model is the coordinator's.
    ordered = ArrayRecord()
    for name, shape in shapes.items():
        ordered[name] = _described(record[name], shape)
    return ordered


def _described(array: Array, shape: tuple[int, ...]) -> Array:
    if (array.dtype, tuple(array.shape)) == ("float32", shape):
        return array
    # Beside its bytes an array says what it is, which need not be so.
    said = Array("float32", shape, SType.NUMPY, b"")
    said.data = array.data
    return said
