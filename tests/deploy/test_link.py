"""The SuperLink's guard: nobody speaks in another's name, too much or too often."""

import importlib

import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.node_pb2 import Node

from fl_server.link import Guard, Limits, install

LIMITS = Limits(message_bytes=10_000, calls_per_s=1.0, bytes_per_hour=36_000)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def push(caller: int, sender: int, size: int = 0) -> PushMessagesRequest:
    message = Message(metadata=Metadata(src_node_id=sender, group_id="x" * size))
    return PushMessagesRequest(node=Node(node_id=caller), messages_list=[message])


def test_a_reply_in_anothers_name_is_refused() -> None:
    """The sender named in a reply must be the node that was authenticated."""
    guard = Guard(LIMITS, Clock())
    assert guard.refuse(b"a", push(1, 1)) is None
    assert guard.refuse(b"a", push(1, 2)) == "a message in another's name"


def test_calls_and_bytes_are_bounded_per_key_and_come_back_with_time() -> None:
    """60 calls at once, then one a second; 36 kB an hour, ten bytes a second; others unharmed."""
    clock = Clock()
    guard = Guard(LIMITS, clock)
    pull = PullMessagesRequest(node=Node(node_id=1))
    refused = [guard.refuse(b"a", pull) for _ in range(61)]
    assert refused[:60] == [None] * 60
    assert refused[60] == "too many calls"
    assert guard.refuse(b"b", pull) is None
    clock.now = 1.0
    assert guard.refuse(b"a", pull) is None
    assert guard.refuse(b"c", push(3, 3, 35_000)) is None
    assert guard.refuse(b"c", push(3, 3, 5_000)) == "too many bytes"
    clock.now = 1.0 + 3600
    assert guard.refuse(b"c", push(3, 3, 5_000)) is None


def test_the_guard_stands_behind_flowers_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed in the pinned Flower: a guarded call is aborted, others reach the handler."""
    import grpc  # type: ignore[import-untyped]

    link = importlib.import_module("flwr.superlink.cli.flower_superlink")
    interceptor = link.NodeAuthServerInterceptor
    monkeypatch.setattr(link, "GRPC_MAX_MESSAGE_LENGTH", link.GRPC_MAX_MESSAGE_LENGTH)
    monkeypatch.setattr(interceptor, "_wrap_method_handler", lambda self, handler, key: handler)
    install(Guard(LIMITS, Clock()), LIMITS)
    assert link.GRPC_MAX_MESSAGE_LENGTH == 10_000
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: "handled")
    guarded = interceptor._wrap_method_handler(None, handler, b"a")

    class Aborted(Exception):
        pass

    class Context:
        def abort(self, code: grpc.StatusCode, why: str) -> None:
            raise Aborted(code, why)

    assert guarded.unary_unary(push(1, 1), Context()) == "handled"
    with pytest.raises(Aborted, match="another's name"):
        guarded.unary_unary(push(1, 2), Context())
