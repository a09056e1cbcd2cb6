"""The coordinator tries its own door before it serves: what must be refused, is it?

The guard sits in Flower's private parts. A release that does not pass through them any more would
serve without it, and nothing would fail. So three calls are made to the own port that must not
pass; where one does, the SuperLink ends.
"""

import os
import socket
import sys
import threading
import time
from pathlib import Path

import grpc  # type: ignore[import-untyped]
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node

from fl_server.host.journal import journal

_PULL = "/flwr.proto.Fleet/PullMessages"
_PUSH = "/flwr.proto.Fleet/PushMessages"
_FOREIGN = ("/flwr.proto.Control/ListRuns", "/flwr.proto.ServerAppIo/GetNodes")
_PATIENCE_S = 60.0
_CALL_S = 20.0


def open_doors(
    address: str, root_certificate: bytes | None, message_bytes: int, *, closed: bool
) -> list[str]:
    """What passes at HOST:PORT and must not, a line each.

    ``closed``: only admitted keys connect. Raises ConnectionError where nobody answers.
    """
    options = [("grpc.max_send_message_length", -1)]
    if root_certificate is None:
        channel = grpc.insecure_channel(address, options)
    else:
        credentials = grpc.ssl_channel_credentials(root_certificate)
        channel = grpc.secure_channel(address, credentials, options)
    with channel:
        found = []
        pull = PullMessagesRequest(node=Node(node_id=1)).SerializeToString()
        if closed and _code(channel, _PULL, pull) is None:
            found.append("a call that nobody has signed")
        big = PushMessagesRequest(messages_list=[ProtoMessage()])
        big.messages_list[0].metadata.group_id = "x" * (message_bytes + 1)
        unread = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED)
        if _code(channel, _PUSH, big.SerializeToString()) not in unread:
            found.append(f"a message of more than {message_bytes} bytes")
        refused = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAUTHENTICATED)
        found += [
            f"a call of {method.split('/')[1]}, which commands the run"
            for method in _FOREIGN
            if _code(channel, method, b"") not in refused
        ]
    return found


def _code(channel: grpc.Channel, method: str, request: bytes) -> "grpc.StatusCode | None":
    """Status of a call, None where it passed. Raises ConnectionError where nobody answers."""
    call = channel.unary_unary(method, lambda data: data, lambda data: data)
    try:
        call(request, timeout=_CALL_S)
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise ConnectionError(f"{method}: {error.details()}") from None
        return error.code()
    return None


def watch_the_door(
    port: int, root_certificate: Path | None, message_bytes: int, *, closed: bool
) -> None:
    """Try the own door once it is open, from a thread; the process ends where something passes."""
    certificate = None if root_certificate is None else root_certificate.read_bytes()
    address = f"127.0.0.1:{port}"

    def try_it() -> None:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                doors = open_doors(address, certificate, message_bytes, closed=closed)
                break
            except OSError:  # ConnectionError is one: it is not up yet
                time.sleep(0.5)
        else:
            # It may listen on another address only; what is not reached is not open either.
            journal("self-test left out: nobody answers", address=address)
            return
        for door in doors:
            journal("self-test failed", passed=door)
            print(f"fedwatt: {door} passes at {address}: not serving", file=sys.stderr, flush=True)
        if doors:
            os._exit(2)
        journal("self-test passed", address=address)

    threading.Thread(target=try_it, daemon=True).start()
