"""A household finds out which way its coordinator speaks, and goes that way."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import uvicorn
from flwr.common.constant import PUBLIC_KEY_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

from common.errors import InputError
from common.flower_release import speaks_http
from fl_client.host.node import refuse_http
from fl_client.host.probe import spoken
from fl_client.host.transport import EitherTransport, GrpcTransport
from fl_server.host.tls import make_authority, make_server_certificate
from tests.support.ports import free_port

only_http = pytest.mark.skipif(not speaks_http(), reason="needs flwr 1.40 or later")

Stop = Callable[[], None]
PATIENT = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), 5.0)}


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """A folder with an authority and a certificate for loopback."""
    make_authority(tmp_path)
    make_server_certificate(tmp_path, ["127.0.0.1"])
    return tmp_path


class Calls(grpc.GenericRpcHandler):
    """Answers every call with what came: its method, its body; or refuses it."""

    def __init__(self, refuse: "tuple[grpc.StatusCode, str] | None" = None) -> None:
        self._refuse, self.metadata = refuse, [{}]

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            self.metadata.append(dict(context.invocation_metadata()))
            if self._refuse is not None:
                context.abort(*self._refuse)
            return details.method.encode() + b" " + request

        return grpc.unary_unary_rpc_method_handler(answer)


def by_grpc(port: int, handler: grpc.GenericRpcHandler, tls: Path | None = None) -> Stop:
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    if tls is None:
        server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        pair = ((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    return lambda: server.stop(0).wait()


def by_http(port: int, tls: Path | None = None) -> Stop:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    files = (
        {}
        if tls is None
        else {"ssl_certfile": tls / "server.pem", "ssl_keyfile": tls / "server.key"}
    )
    plug = socket.create_server(("127.0.0.1", port))
    config: Any = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, **files)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: server.run(sockets=[plug]))
    thread.start()

    def stop() -> None:
        server.force_exit = server.should_exit = True
        thread.join(timeout=20)
        plug.close()

    return stop


@pytest.fixture
def ended() -> Iterator[Callable[[Stop], Stop]]:
    """Stops at the end of a test what it has started."""
    stops: list[Stop] = []
    yield lambda stop: (stops.append(stop), stop)[1]
    for stop in stops:
        stop()


@pytest.mark.parametrize("secure", [False, True])
def test_each_way_is_told_from_the_other(
    secure: bool, tls: Path, ended: Callable[[Stop], Stop]
) -> None:
    """By one connection, with and without TLS; a port where nobody is tells nothing."""
    used = tls if secure else None
    trusted = (tls / "ca.crt").read_bytes() if secure else None
    ports = free_port(), free_port()
    ended(by_grpc(ports[0], Calls(), used))
    ended(by_http(ports[1], used))
    assert spoken(f"127.0.0.1:{ports[0]}", trusted) == "grpc"
    assert spoken(f"127.0.0.1:{ports[1]}", trusted) == "http"
    with pytest.raises(OSError, match="refused"):
        spoken(f"127.0.0.1:{free_port()}", trusted)


def test_an_old_household_is_told_why_it_does_not_connect(ended: Callable[[Stop], Stop]) -> None:
    """Its coordinator speaks HTTP and its Flower cannot: one line that names both remedies."""
    port = free_port()
    ended(by_http(port))
    with pytest.raises(InputError, match=r"speaks HTTP.*docs/flower\.md.*transport: grpc"):
        refuse_http(["--superlink", f"127.0.0.1:{port}", "--insecure"])
    refuse_http(["--superlink", f"127.0.0.1:{free_port()}", "--insecure"])


def post(line: httpx.BaseTransport, port: int, call: str = "pull-messages") -> httpx.Response:
    """One call as a SuperNode makes it."""
    headers = {
        "flwr-public-key": "a2V5", "flwr-signature": "c2lnbmVk", TIMESTAMP_HEADER: "now",
        "content-type": "application/protobuf",
    }  # fmt: skip
    with httpx.Client(transport=line, timeout=5.0) as client:
        return client.post(
            f"http://127.0.0.1:{port}/v1/fleet/{call}", content=b"body", headers=headers
        )


@only_http
def test_an_http_call_goes_by_grpc(ended: Callable[[Stop], Stop]) -> None:
    """Method, content, key, signature and time stamp arrive as a gRPC household sends them; headers
    that are not Flower's stay behind."""
    port, calls = free_port(), Calls()
    ended(by_grpc(port, calls))
    answer = post(GrpcTransport(f"127.0.0.1:{port}", None), port, "send-node-heartbeat")
    assert (answer.status_code, answer.content) == (
        200, b"/flwr.proto.Fleet/SendNodeHeartbeat body"
    )  # fmt: skip
    came = calls.metadata[-1]
    assert (came[PUBLIC_KEY_HEADER], came[SIGNATURE_HEADER]) == (b"key", b"signed")
    assert came[TIMESTAMP_HEADER] == "now"
    assert "content-type" not in came


@only_http
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 401), (grpc.StatusCode.PERMISSION_DENIED, 403),
        (grpc.StatusCode.FAILED_PRECONDITION, 412), (grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)  # fmt: skip
def test_refusals_keep_their_meaning(
    code: grpc.StatusCode, status: int, ended: Callable[[Stop], Stop]
) -> None:
    """Each code has the status that Flower treats alike, and its reason reaches the log."""
    port = free_port()
    ended(by_grpc(port, Calls((code, "the reason"))))
    answer = post(GrpcTransport(f"127.0.0.1:{port}", None), port)
    assert answer.status_code == status
    assert answer.json()["detail"] == "the reason"


@only_http
def test_a_household_follows_its_coordinator(ended: Callable[[Stop], Stop]) -> None:
    """From gRPC to HTTP and back on the same port, without being started anew."""
    port = free_port()
    line = EitherTransport(f"127.0.0.1:{port}", None)

    def said() -> bytes:
        for _ in range(5):  # as Flower would, a call that found nobody is made again
            try:
                request = httpx.Request(
                    "POST", f"http://127.0.0.1:{port}/v1/fleet/pull-messages",
                    extensions=PATIENT,
                )  # fmt: skip
                return line.handle_request(request).read()
            except httpx.TransportError:
                continue
        raise AssertionError("no answer")

    stop = by_grpc(port, Calls())
    assert said() == b"/flwr.proto.Fleet/PullMessages "
    stop()
    stop = by_http(port)
    assert said() == b"/v1/fleet/pull-messages"
    stop()
    ended(by_grpc(port, Calls()))
    assert said() == b"/flwr.proto.Fleet/PullMessages "
    line.close()


@only_http
def test_a_false_certificate_is_no_reason_to_try_again(
    tls: Path, tmp_path_factory: pytest.TempPathFactory, ended: Callable[[Stop], Stop]
) -> None:
    """By either way the error has the word by which Flower gives up, and no call is made."""
    other = tmp_path_factory.mktemp("other")
    make_authority(other)
    trusted = (other / "ca.crt").read_bytes()
    for start in (lambda port: by_grpc(port, Calls(), tls), lambda port: by_http(port, tls)):
        port = free_port()
        ended(start(port))
        request = httpx.Request(
            "POST", f"https://127.0.0.1:{port}/v1/fleet/pull-messages",
            extensions=PATIENT,
        )  # fmt: skip
        with pytest.raises(httpx.ConnectError, match=r"TLS|CERTIFICATE|certificate"):
            EitherTransport(f"127.0.0.1:{port}", trusted).handle_request(request)
