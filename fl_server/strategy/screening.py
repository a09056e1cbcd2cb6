"""Updates that cannot be averaged are dropped before any strategy sees them, and counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message, MetricRecord

from common.messages import ARRAYS, NUM_EXAMPLES, view_arrays
from fl_server.strategy.fixed_point import largest_magnitude

MAX_EXAMPLES = 10**7


@dataclass
class Screening:
    """What one round received and refused."""

    received: int = 0
    accepted: int = 0
    bytes_up: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def _fault(
    message: Message, shapes: Mapping[str, tuple[int, ...]], max_bytes: int
) -> tuple[str | None, int]:
    if message.has_error():
        return "error reply", 0
    content = message.content
    size = sum(
        len(array.data) for record in content.array_records.values() for array in record.values()
    )
    if size > max_bytes:
        return "oversized", size
    record = content.get(ARRAYS)
    if not isinstance(record, ArrayRecord) or len(content.metric_records) != 1:
        return "wrong records", size
    metrics: MetricRecord = next(iter(content.metric_records.values()))
    examples = metrics.get(NUM_EXAMPLES)
    if not isinstance(examples, int | float) or not 1 <= examples <= MAX_EXAMPLES:
        return "no or absurd number of examples", size
    if {name: tuple(array.shape) for name, array in record.items()} != shapes:
        return "wrong shape", size
    for arrays in content.array_records.values():
        try:
            views = view_arrays(arrays)
        except (ValueError, TypeError):
            return "unreadable array", size
        if arrays is record and any(v.shape != shapes[name] for name, v in views.items()):
            return "wrong shape", size
        if any(
            v.dtype.kind == "f" and largest_magnitude(v) == float("inf") for v in views.values()
        ):
            return "NaN or infinite weights", size
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
) -> Iterator[Message]:
    """Pass on the replies that carry a usable update; count the rest by reason in ``report``.

    ``shapes`` are those of the global model by array name. One reply is held at a time.
    """
    for reply in replies:
        report.received += 1
        reason, size = _fault(reply, shapes, max_bytes)
        report.bytes_up += size
        if reason is not None:
            report.dropped[reason] += 1
            continue
        report.accepted += 1
        yield reply
