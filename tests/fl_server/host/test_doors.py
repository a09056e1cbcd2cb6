"""The SuperLink tries its own doors: an open one is found, and ends it."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvicorn

from fl_server.host.doors import open_doors, open_http_doors, open_inner_door

FLEET, CONTROL = "/v1/fleet/pull-messages", "/v1/control/list-runs"


class Door(grpc.GenericRpcHandler):
    """Answers the methods of these prefixes, and nothing else."""

    def __init__(self, *prefixes: str) -> None:
        self._prefixes = prefixes

    def service(self, details: Any) -> Any:
        if not details.method.startswith(self._prefixes):
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a gRPC server on loopback; returns its address."""
    servers = []

    def start(handler: Door, message_bytes: int) -> str:
        options = [("grpc.max_receive_message_length", message_bytes)]
        server = grpc.server(ThreadPoolExecutor(2), options=options)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(0)


Answer = Callable[[str, "int | None"], "int | None"]


@pytest.fixture
def answer_http() -> Iterator[Callable[[Answer], str]]:
    """Start an HTTP server on loopback; returns its address.

    Its status depends on a call's path and announced length; None: it reads the content first.
    """
    servers = []

    def start(status: Answer) -> str:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            announced = dict(scope["headers"]).get(b"content-length")
            code = status(scope["path"], None if announced is None else int(announced))
            more = code is None
            while more:
                more = (await receive()).get("more_body", False)
            await send({"type": "http.response.start", "status": code or 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        plug = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([plug])))
        thread.start()
        servers.append((server, thread))
        return f"127.0.0.1:{plug.getsockname()[1]}"

    yield start
    for server, _ in servers:
        server.force_exit = server.should_exit = True
    for _, thread in servers:
        thread.join(timeout=20)


def test_each_open_door_is_found(serve: Callable[..., str]) -> None:
    """Unsigned calls, oversized messages and the services that command a run, each by itself."""
    wide = serve(Door("/"), 1 << 20)
    assert len(open_doors(wide, None, 10_000, closed=True)) == 4
    fleet = serve(Door("/flwr.proto.Fleet/"), 10_000)
    assert open_doors(fleet, None, 10_000, closed=True) == ["a call that nobody has signed"]
    assert open_doors(fleet, None, 10_000, closed=False) == []
    large = serve(Door("/flwr.proto.Fleet/"), 1 << 20)
    assert open_doors(large, None, 10_000, closed=False) == ["a message of more than 10000 bytes"]
    shut = serve(Door("/nothing"), 10_000)
    assert open_doors(shut, None, 10_000, closed=True) == []


def test_each_open_door_of_http_is_found(
    answer_http: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over HTTP, and a server that reads what it will refuse."""
    monkeypatch.setattr("fl_server.host.doors._CALL_S", 0.5)

    def found(status: Answer) -> list[str]:
        return open_http_doors(answer_http(status), None, 10_000)

    def sound(path: str, length: int | None) -> int:
        if path != FLEET:
            return 404
        return 413 if (length or 0) > 10_000 else 401

    assert found(sound) == []
    assert found(lambda p, n: 200 if p == FLEET and n and n <= 10_000 else sound(p, n)) == [
        "a call that nobody has signed"
    ]
    assert found(lambda p, n: None if (n or 0) > 10_000 else sound(p, n)) == [
        "a message of more than 10000 bytes"
    ]
    assert found(lambda p, n: None if n is None else sound(p, n)) == [
        "the content of a call that nobody has signed"
    ]
    assert found(lambda p, n: 401 if p == CONTROL else sound(p, n)) == [
        f"{CONTROL}, which is not for households,"
    ]


def test_households_calls_do_not_pass_inside(answer_http: Callable[[Answer], str]) -> None:
    """On the port that commands the run nothing guards them: to be refused there is too far."""
    assert open_inner_door(answer_http(lambda path, length: 404), None) == []
    assert len(open_inner_door(answer_http(lambda path, length: 401), None)) == 1


def test_nobody_there_is_an_error_of_the_connection() -> None:
    """An unreachable port is not taken for a safe one."""
    with pytest.raises(ConnectionError):
        open_doors("127.0.0.1:1", None, 10_000, closed=True)
    with pytest.raises(ConnectionError):
        open_http_doors("127.0.0.1:1", None, 10_000)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_an_open_door_ends_the_process(
    transport: str,
    serve: Callable[..., str],
    answer_http: Callable[[Answer], str],
    tmp_path: Path,
) -> None:
    """One line that names what passes, and status 2."""
    if transport == "grpc":
        address = serve(Door("/"), 1 << 20)
    else:
        address = answer_http(lambda path, length: 200)
    port = address.rpartition(":")[2]
    code = (
        "import time; from fl_server.host.doors import watch_the_doors; "
        "from fl_server.host.folder import Deployment; "
        f"d = Deployment(transport={transport!r}, fleet_port={port}, control_port=1); "
        "watch_the_doors(d, None, 10_000); time.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 2
    assert f"a message of more than 10000 bytes passes at {address}: not serving" in done.stderr
