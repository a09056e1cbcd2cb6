"""The SuperLink tries its own door: an open one is found, and ends it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from fl_server.host.doors import open_doors


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


def test_nobody_there_is_an_error_of_the_connection() -> None:
    """An unreachable port is not taken for a safe one."""
    with pytest.raises(ConnectionError):
        open_doors("127.0.0.1:1", None, 10_000, closed=True)


def test_an_open_door_ends_the_process(serve: Callable[..., str], tmp_path: Path) -> None:
    """One line that names what passes, and status 2."""
    port = serve(Door("/flwr.proto.Fleet/"), 10_000).rpartition(":")[2]
    code = (
        "import time; from fl_server.host.doors import watch_the_door; "
        f"watch_the_door({port}, None, 10_000, closed=True); time.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 2
    assert "a call that nobody has signed passes" in done.stderr
