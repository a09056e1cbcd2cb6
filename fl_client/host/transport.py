"""A SuperNode that speaks gRPC or HTTP, whichever its coordinator does.

Since 1.40 a SuperNode has HTTP alone. Its calls go by an ``httpx`` client, whose transport is
replaced here: by one that carries them as gRPC calls to an older coordinator, or to one that still
serves it. So a household can be upgraded before its coordinator and after it, and follows when the
coordinator changes its way. Private: written for the releases that ``common.flower_release`` names.
"""

import json
import logging
import socket
import ssl
import threading
from base64 import b64decode
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
from flwr.common.constant import PUBLIC_KEY_HEADER, SIGNATURE_HEADER

from common.flower_release import FLEET_HEADERS, NODE_CONNECTION
from fl_client.host.probe import Spoken, spoken

log = logging.getLogger("fedwatt")

_SERVICE = "/flwr.proto.Fleet/"
_HEARTBEAT = "SendNodeHeartbeat"
# A line that carries nothing for so long, though something is to be carried, is dead. A slow line
# is not: an update may take many minutes.
_DEAD_S = 50
_SLOW_S = 3600.0
_STATUS = {
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 413,
}


class GrpcTransport(httpx.BaseTransport):
    """Carries a SuperNode's HTTP calls as the gRPC calls that they once were.

    ``root_certificate``: PEM, None without TLS.
    """

    def __init__(self, server: str, root_certificate: bytes | None) -> None:
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if root_certificate is None:
            self._channel = grpc.insecure_channel(server, options=options)
        else:
            trusted = grpc.ssl_channel_credentials(root_certificate)
            self._channel = grpc.secure_channel(server, trusted, options=options)
        names = vars(FLEET_HEADERS.load())
        self._binary = {
            names["FLEET_HTTP_PUBLIC_KEY_HEADER"]: PUBLIC_KEY_HEADER,
            names["FLEET_HTTP_SIGNATURE_HEADER"]: SIGNATURE_HEADER,
        }

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call. Raises httpx.TransportError where nobody answers."""
        name = request.url.path.rpartition("/")[2].title().replace("-", "")
        call = self._channel.unary_unary(_SERVICE + name, lambda data: data, lambda data: data)
        # How long others take is the line's business; gRPC notices a dead one by itself.
        timeout = request.extensions["timeout"]["read"] if name == _HEARTBEAT else None
        try:
            answer = call(request.read(), metadata=self._metadata(request), timeout=timeout)
        except grpc.RpcError as error:
            return _as_http(error, request)
        return httpx.Response(200, content=answer, request=request)

    def _metadata(self, request: httpx.Request) -> list[tuple[str, str | bytes]]:
        own = [(name, value) for name, value in request.headers.items() if name[:5] == "flwr-"]
        return [
            (self._binary[name], b64decode(value)) if name in self._binary else (name, value)
            for name, value in own
        ]

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def _as_http(error: Any, request: httpx.Request) -> httpx.Response:
    code, details = error.code(), error.details() or ""
    if code == grpc.StatusCode.UNAVAILABLE:
        # Flower looks for the word: a certificate that is not believed will not get better.
        found = "TLS: " if "handshake failed" in details.lower() else ""
        raise httpx.ConnectError(found + details, request=request)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        raise httpx.ReadTimeout(details, request=request)
    try:
        json.loads(details)  # Flower's own errors are JSON already
    except ValueError:
        details = json.dumps({"code": 0, "detail": details})
    return httpx.Response(_STATUS.get(code, 500), content=details.encode(), request=request)


def http_transport(root_certificate: bytes | None) -> httpx.HTTPTransport:
    """Flower's HTTP, on a line that is given up when it is dead."""
    alive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", _DEAD_S // 2),
        ("TCP_KEEPINTVL", _DEAD_S // 5),
        ("TCP_USER_TIMEOUT", _DEAD_S * 1000),
    ):
        if hasattr(socket, name):
            alive.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    verify: ssl.SSLContext | bool = True
    if root_certificate is not None:
        verify = ssl.create_default_context(cadata=root_certificate.decode("ascii"))
    return httpx.HTTPTransport(verify=verify, socket_options=alive)


class EitherTransport(httpx.BaseTransport):
    """Whichever of the two the coordinator speaks; asked anew when a call finds nobody."""

    def __init__(self, server: str, root_certificate: bytes | None) -> None:
        self._server, self._root = server, root_certificate
        self._lock = threading.Lock()
        self._spoken: Spoken | None = None
        self._line: httpx.BaseTransport | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call. Raises httpx.TransportError where nobody answers."""
        line = self._current(request)
        try:
            return line.handle_request(request)
        except httpx.TransportError:
            with self._lock:
                # Found out again by the next try; a line that is still in use stays open.
                if self._line is line and self._changed():
                    log.warning("the coordinator speaks another way now: connecting anew")
                    self._line = None
            raise

    def _changed(self) -> bool:
        try:
            return spoken(self._server, self._root) != self._spoken
        except OSError:
            return False

    def _current(self, request: httpx.Request) -> httpx.BaseTransport:
        with self._lock:
            if self._line is None:
                try:
                    self._spoken = spoken(self._server, self._root)
                except OSError as error:
                    raise httpx.ConnectError(str(error), request=request) from None
                self._line = (
                    GrpcTransport(self._server, self._root)
                    if self._spoken == "grpc"
                    else http_transport(self._root)
                )
            return self._line

    def close(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.close()


def speak_either() -> None:
    """Let this process's SuperNode take the way that its coordinator speaks."""
    connection = NODE_CONNECTION.load()
    flowers = connection.FleetHttpClient

    class FleetClient(flowers):  # type: ignore[misc, valid-type]
        """Flower's client, on a transport of fedwatt's."""

        @classmethod
        def from_server_address(
            cls,
            server_address: str,
            insecure: bool,
            root_certificates: bytes | str | None,
            interceptors: Any,
            **more: Any,
        ) -> Any:
            """As Flower's."""
            client = super().from_server_address(
                server_address, insecure, root_certificates, interceptors, **more
            )
            root = root_certificates
            if isinstance(root, str):
                root = Path(root).expanduser().read_bytes()
            if root is None and not insecure:
                raise ValueError("no root certificate: a household trusts its community's alone")
            vars(client)["_client"].close()
            client._client = httpx.Client(
                transport=EitherTransport(server_address, None if insecure else root),
                timeout=httpx.Timeout(_SLOW_S, connect=_DEAD_S),
                follow_redirects=False,
            )
            return client

    vars(connection)["FleetHttpClient"] = FleetClient
