"""Updates that cannot be averaged are dropped before any strategy sees them, and counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message, MetricRecord

from common.messages import ARRAYS, NUM_EXAMPLES, view_arrays
from fl_server.strategy.fixed_point import largest_magnitude

MAX_EXAMPLES = 10**7
MAX_WEIGHT = 1e4
"""Magnitude beyond which no network's weight is sensible, and sums of many would overflow."""


@dataclass
class Screening:
    """What one round received and refused."""

    received: int = 0
    accepted: int = 0
    bytes_up: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def _fault(
    message: Message,
    shapes: Mapping[str, tuple[int, ...]],
    max_bytes: int,
    expand: Callable[[Message], None],
) -> tuple[str | None, int]:
    if message.has_error():
        return "error reply", 0
    content = message.content
    size = sum(
        len(array.data) for record in content.array_records.values() for array in record.values()
    )
    if size > max_bytes:
        return "oversized", size
    try:
        expand(message)
    except (ValueError, TypeError):
        return "unreadable compressed update", size
    record = content.get(ARRAYS)
    if not isinstance(record, ArrayRecord) or len(content.metric_records) != 1:
        return "wrong records", size
    metrics: MetricRecord = next(iter(content.metric_records.values()))
    examples = metrics.get(NUM_EXAMPLES)
    if not isinstance(examples, int | float) or not 1 <= examples <= MAX_EXAMPLES:
        return "no or absurd number of examples", size
    for arrays in content.array_records.values():
        try:
            views = view_arrays(arrays)
        except (ValueError, TypeError):
            return "unreadable array", size
        if {name: v.shape for name, v in views.items()} != shapes:
            return "wrong shape", size
        if any(v.dtype.kind != "f" for v in views.values()):
            return "weights that are no floats", size
        largest = max((largest_magnitude(v) for v in views.values()), default=0.0)
        if not largest < float("inf"):
            return "NaN or infinite weights", size
        if largest > MAX_WEIGHT:
            return "absurdly large weights", size
    for value in metrics.values():
        for number in value if isinstance(value, list) else [value]:
            if not abs(float(number)) < float("inf"):
                return "NaN or infinite metrics", size
    return None, size


def screen(
    replies: Iterable[Message],
    shapes: Mapping[str, tuple[int, ...]],
    max_bytes: int,
    report: Screening,
    expand: Callable[[Message], None] = lambda _: None,
) -> Iterator[Message]:
    """Pass on the replies that carry a usable update; count the rest by reason in ``report``.

    ``shapes`` are those of the global model by array name; every record of arrays in a reply must
    have them. ``expand`` puts weights in the place of compressed ones and raises ValueError where
    it cannot. One reply is held at a time.
    """
    for reply in replies:
        report.received += 1
        reason, size = _fault(reply, shapes, max_bytes, expand)
        report.bytes_up += size
        if reason is not None:
            report.dropped[reason] += 1
            continue
        report.accepted += 1
        yield reply
