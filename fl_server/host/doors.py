"""The coordinator tries its own doors before it serves: what must be refused, is it?

The guard sits in Flower's private parts. A release that does not pass through them any more would
serve without it, and nothing would fail. So calls are made to the own ports that must not pass;
where one does, the SuperLink ends.
"""

import http.client
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc  # type: ignore[import-untyped]
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import Node

from common.flower_release import speaks_http
from fl_server.host.folder import Deployment
from fl_server.host.journal import journal

_PULL = "/flwr.proto.Fleet/PullMessages"
_PUSH = "/flwr.proto.Fleet/PushMessages"
_FOREIGN = ("/flwr.proto.Control/ListRuns", "/flwr.proto.ServerAppIo/GetNodes")
_FLEET_PATH = "/v1/fleet/pull-messages"
_FOREIGN_PATHS = (
    "/v1/control/list-runs",
    "/v1/runtime/get-nodes",
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/docs",
)
_PATIENCE_S = 60.0
_CALL_S = 20.0
# Whatever address it is reached by, the coordinator's certificate has this name as well.
_NAME = "localhost"


def open_doors(
    address: str, root_certificate: bytes | None, message_bytes: int, *, closed: bool
) -> list[str]:
    """What passes by gRPC at HOST:PORT and must not, a line each.

    ``closed``: only admitted keys connect. Raises ConnectionError where nobody answers.
    """
    options: list[tuple[str, object]] = [("grpc.max_send_message_length", -1)]
    if root_certificate is None:
        channel = grpc.insecure_channel(address, options)
    else:
        credentials = grpc.ssl_channel_credentials(root_certificate)
        options.append(("grpc.ssl_target_name_override", _NAME))
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


def open_http_doors(address: str, root_certificate: bytes | None, message_bytes: int) -> list[str]:
    """What passes over HTTP at HOST:PORT and must not, a line each.

    Raises ConnectionError where nobody answers.
    """
    pull = PullMessagesRequest(node=Node(node_id=1)).SerializeToString()
    found = []
    if _status(address, root_certificate, _FLEET_PATH, pull) not in (401, 404):
        found.append("a call that nobody has signed")
    # Announced alone: whoever reads it before refusing waits for it.
    if _status(address, root_certificate, _FLEET_PATH, length=message_bytes + 1) not in (413, 404):
        found.append(f"a message of more than {message_bytes} bytes")
    # Not announced: it must be refused for its signature before it is read.
    if _status(address, root_certificate, _FLEET_PATH, length=None) not in (401, 404):
        found.append("the content of a call that nobody has signed")
    found += [
        f"{path}, which is not for households,"
        for path in _FOREIGN_PATHS
        if _status(address, root_certificate, path) != 404
    ]
    return found


def open_inner_door(address: str, root_certificate: bytes | None) -> list[str]:
    """What passes on the port that commands the run, and has no guard there: households' calls."""
    if _status(address, root_certificate, _FLEET_PATH) == 404:
        return []
    return ["a household's call, which nothing guards here,"]


def _status(
    address: str,
    root_certificate: bytes | None,
    path: str,
    body: bytes = b"",
    length: int | None = 0,
) -> int | None:
    """Status of a POST, None where no answer comes. Raises ConnectionError where nobody is there.

    ``length``: what is announced, whatever follows; None: nothing is, and it does not end.
    """
    host, _, port = address.rpartition(":")
    plug = socket.create_connection((host.strip("[]"), int(port)), timeout=_CALL_S)
    with plug:
        line = plug
        if root_certificate is not None:
            context = ssl.create_default_context(cadata=root_certificate.decode("ascii"))
            try:
                line = context.wrap_socket(plug, server_hostname=_NAME)
            except OSError as error:
                raise ConnectionError(f"{address}: {error}") from None
        announced = (
            "Transfer-Encoding: chunked"
            if length is None
            else f"Content-Length: {length or len(body)}"
        )
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {_NAME}\r\nContent-Type: application/protobuf\r\n"
            f"{announced}\r\n\r\n"
        )
        try:
            line.sendall(head.encode() + (b"1\r\nx\r\n" if length is None else body))
            answer = http.client.HTTPResponse(line, method="POST")
            answer.begin()
        except TimeoutError:
            return None
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(f"{address}{path}: {error}") from None
        return answer.status


def watch_the_doors(
    deployment: Deployment, root_certificate: Path | None, message_bytes: int
) -> None:
    """Try the own doors once they are open, from a thread; the process ends where something passes.

    ``root_certificate``: None without TLS, and then without admission.
    """
    trusted = None if root_certificate is None else root_certificate.read_bytes()
    host = deployment.heard_on
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}.get(host, host)
    outside = f"{host}:{deployment.fleet_port}"
    inside = f"127.0.0.1:{deployment.control_port}"

    def fleet() -> list[str]:
        if deployment.transport == "http":
            return open_http_doors(outside, trusted, message_bytes)
        return open_doors(outside, trusted, message_bytes, closed=trusted is not None)

    _watch(outside, fleet)
    if speaks_http():
        _watch(inside, lambda: open_inner_door(inside, trusted))


def _watch(address: str, doors: Callable[[], list[str]]) -> None:
    def try_it() -> None:
        late = time.monotonic() + _PATIENCE_S
        while True:
            try:
                found = doors()
                break
            except OSError:  # ConnectionError is one: it is not up yet
                time.sleep(0.5)
            if time.monotonic() > late:
                journal("self-test waits: nobody answers", address=address)
                late = float("inf")
        for door in found:
            journal("self-test failed", passed=door)
            print(f"fedwatt: {door} passes at {address}: not serving", file=sys.stderr, flush=True)
        if found:
            os._exit(2)
        journal("self-test passed", address=address)

    threading.Thread(target=try_it, daemon=True).start()
