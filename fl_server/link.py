"""The SuperLink with bounds: what one household may send, how often, and in whose name.

    python -m fl_server.link ARGUMENTS OF flower-superlink

Flower authenticates every call and checks the caller's node id, but takes the sender named inside
a pushed reply as it stands, and bounds neither size nor rate. This adds what is missing where
Flower's own interceptor has just told who is calling. Private: written for one release.
"""

import importlib
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flwr
import grpc  # type: ignore[import-untyped]

from fl_server.journal import journal

SUPPORTED = "1.39."
_MANY_KEYS = 10_000
_WINDOW_S = 60.0


@dataclass(frozen=True)
class Limits:
    """Bounds for one caller: bytes a message, calls a second (over a minute), bytes an hour."""

    message_bytes: int
    calls_per_s: float
    bytes_per_hour: float

    @classmethod
    def from_environment(cls) -> "Limits":
        """Read the limits that ``fedwatt server start`` sets."""
        return cls(
            int(float(os.environ.get("FEDWATT_MESSAGE_MB", "64")) * 1e6),
            float(os.environ.get("FEDWATT_REQUESTS_PER_S", "20")),
            float(os.environ.get("FEDWATT_MB_PER_HOUR", "1000")) * 1e6,
        )


@dataclass
class _Bucket:
    """What a caller may still do; it fills again with time."""

    calls: float
    size: float
    seen: float


class Guard:
    """Keeps account of callers by public key. ``clock`` gives seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._buckets: OrderedDict[bytes, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def refuse(self, key: bytes, request: Any) -> str | None:
        """Why this call must not pass; None if it may."""
        if hasattr(request, "messages_list"):
            for message in request.messages_list:
                if message.metadata.src_node_id != request.node.node_id:
                    return "a message in another's name"
        return self._spend(key, request.ByteSize())

    def _spend(self, key: bytes, size: int) -> str | None:
        limits, now = self._limits, self._clock()
        most = limits.calls_per_s * _WINDOW_S
        with self._lock:
            bucket = self._buckets.setdefault(key, _Bucket(most, limits.bytes_per_hour, now))
            self._buckets.move_to_end(key)
            if len(self._buckets) > _MANY_KEYS:
                self._buckets.popitem(last=False)
            gone = now - bucket.seen
            bucket.seen = now
            bucket.calls = min(bucket.calls + gone * limits.calls_per_s, most)
            hour = limits.bytes_per_hour
            bucket.size = min(bucket.size + gone * hour / 3600, hour)
            if bucket.calls < 1:
                return "too many calls"
            if bucket.size < size:
                return "too many bytes"
            bucket.calls -= 1
            bucket.size -= size
        return None


def install(guard: Guard, limits: Limits) -> None:
    """Put the guard behind Flower's node authentication, and bound a message's size."""
    # By name: the package gives a function of the same name instead of the module.
    link = importlib.import_module("flwr.superlink.cli.flower_superlink")
    vars(link)["GRPC_MAX_MESSAGE_LENGTH"] = limits.message_bytes
    interceptor = link.NodeAuthServerInterceptor
    authenticated = interceptor._wrap_method_handler

    def wrap(self: Any, handler: Any, key: bytes) -> Any:
        inner = authenticated(self, handler, key)

        def guarded(request: Any, context: Any) -> Any:
            why = guard.refuse(key, request)
            if why is not None:
                node = str(getattr(getattr(request, "node", None), "node_id", ""))
                journal("call refused", why=why, node=node, call=type(request).__name__)
                context.abort(grpc.StatusCode.PERMISSION_DENIED, why)
            return inner.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=inner.request_deserializer,
            response_serializer=inner.response_serializer,
        )

    interceptor._wrap_method_handler = wrap


def main() -> None:
    """Run ``flower-superlink`` with the guard."""
    if not flwr.__version__.startswith(SUPPORTED):
        sys.exit(f"flwr {flwr.__version__}: the bounds of the SuperLink need {SUPPORTED}x")
    from flwr.superlink.cli.flower_superlink import flower_superlink

    limits = Limits.from_environment()
    install(Guard(limits), limits)
    sys.argv[0] = "flower-superlink"
    # Every poll would be a line.
    logging.getLogger("uvicorn.access").addFilter(lambda record: False)
    flower_superlink()


if __name__ == "__main__":
    main()
