"""What one caller of the SuperLink may do: how much, how often, with what, and in whose name.

Flower authenticates every call. It takes the sender named inside a pushed reply as it stands, lets
any caller activate another's node, hands any object of a run to any node that names it, and bounds
neither size nor rate. Here is the account that closes these gaps; ``link.py`` puts it in place.

A reply names its sender twice: in the call that announces it, and in the object that follows, which
is what the coordinator reads. Both must be the caller.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from flwr.app import Message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_type_from_object_content,
)
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

_WINDOW_S = 60.0
# Longer than Flower accepts a call's time stamp (five minutes and some drift).
_STAMP_S = 400.0
_HANDED = 20_000
_MOST_OBJECTS = 10_000


@dataclass(frozen=True)
class Limits:
    """Bounds for one caller: bytes a message, calls a second (over a minute), bytes an hour."""

    message_bytes: int
    calls_per_s: float
    bytes_per_hour: float


@dataclass
class _Caller:
    """What a caller may still do; it fills again with time.

    ``stamps``: time stamps of its calls, and when they came. ``handed``: ids of the objects it was
    sent; for a message, the id of its answer.
    """

    calls: float
    size: float
    seen: float
    stamps: "OrderedDict[str, float]" = field(default_factory=OrderedDict)
    handed: "OrderedDict[str, str]" = field(default_factory=OrderedDict)


class Guard:
    """Keeps account of admitted callers by public key. ``clock`` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._callers: dict[bytes, _Caller] = {}
        self._lock = threading.Lock()

    def refuse(self, key: bytes, stamp: str, request: Any) -> str | None:
        """Why this call must not pass; None if it may. ``stamp``: its signed time."""
        with self._lock:
            now = self._clock()
            caller = self._callers.setdefault(
                key, _Caller(self._limits.calls_per_s * _WINDOW_S, self._limits.bytes_per_hour, now)
            )
            return (
                _again(caller, stamp, now)
                or self._spend(caller, request.ByteSize(), now)
                or _not_its_own(caller, key, request)
            )

    def hand_out(self, key: bytes, response: Any) -> None:
        """Note which objects a caller is about to be told of."""
        with self._lock:
            handed = self._callers[key].handed
            for tree in getattr(response, "message_object_trees", ()):
                for object_id in _objects(tree):
                    handed.setdefault(object_id, "")
                    handed.move_to_end(object_id)
            while len(handed) > _HANDED:
                handed.popitem(last=False)

    def _spend(self, caller: _Caller, size: int, now: float) -> str | None:
        limits = self._limits
        most, hour = limits.calls_per_s * _WINDOW_S, limits.bytes_per_hour
        gone = now - caller.seen
        caller.seen = now
        caller.calls = min(caller.calls + gone * limits.calls_per_s, most)
        caller.size = min(caller.size + gone * hour / 3600, hour)
        if caller.calls < 1:
            return "too many calls"
        if caller.size < size:
            return "too many bytes"
        caller.calls -= 1
        caller.size -= size
        return None


def _again(caller: _Caller, stamp: str, now: float) -> str | None:
    """Every call is signed for its own moment: the same signature twice is a recording."""
    while caller.stamps and next(iter(caller.stamps.values())) < now - _STAMP_S:
        caller.stamps.popitem(last=False)
    if stamp in caller.stamps:
        return "a repeated call"
    caller.stamps[stamp] = now
    return None


def _not_its_own(caller: _Caller, key: bytes, request: Any) -> str | None:
    """Why this speaks for another, or of what another was sent. By the request's fields."""
    if hasattr(request, "public_key") and request.public_key != key:
        return "a node of another's key"
    if hasattr(request, "messages_list"):
        return _answer(caller, request)
    if hasattr(request, "object_content"):
        return _content(caller, request)
    for name in ("message_object_id", "object_id"):
        if hasattr(request, name) and getattr(request, name) not in caller.handed:
            return "an object it was not sent"
    return None


def _content(caller: _Caller, request: Any) -> str | None:
    """Why this object must not be stored: one that is a message speaks for its caller alone."""
    try:
        if get_object_type_from_object_content(request.object_content) != Message.__qualname__:
            return None
        said = ProtoMessage.FromString(get_object_body(request.object_content, Message)).metadata
    except (ValueError, DecodeError):
        return "an unreadable object"
    return _sender(caller, said, request.node.node_id)


def _answer(caller: _Caller, request: Any) -> str | None:
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return "not one message with its objects"
    metadata, tree = request.messages_list[0].metadata, request.message_object_trees[0]
    if tree.object_id != metadata.message_id:
        return "a message under another's id"
    if sum(1 for _ in islice(_objects(tree), _MOST_OBJECTS + 1)) > _MOST_OBJECTS:
        return "too many objects"
    why = _sender(caller, metadata, request.node.node_id)
    if why is not None:
        return why
    asked = metadata.reply_to_message_id
    # The same answer again is a retry: Flower knows it by its id.
    if caller.handed[asked] not in ("", metadata.message_id):
        return "a second answer"
    caller.handed[asked] = metadata.message_id
    return None


def _sender(caller: _Caller, metadata: Any, node: int) -> str | None:
    """Why this is no answer of ``node`` to what it was asked."""
    if metadata.src_node_id != node:
        return "a message in another's name"
    if metadata.dst_node_id != SUPERLINK_NODE_ID:
        return "a message to another household"
    if metadata.reply_to_message_id not in caller.handed:
        return "an answer to a message it was not sent"
    return None


def _objects(tree: Any) -> Iterator[str]:
    yield tree.object_id
    for child in tree.children:
        yield from _objects(child)
