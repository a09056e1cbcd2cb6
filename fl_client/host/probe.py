"""Which way a coordinator speaks to households, found out by one connection.

No setting of the household's: when the coordinator changes its way, nobody at home has to know.
"""

import socket
import ssl
from typing import Literal

Spoken = Literal["grpc", "http"]

_CALL_S = 10.0


def spoken(server: str, root_certificate: bytes | None) -> Spoken:
    """What HOST:PORT speaks. ``root_certificate``: PEM, None without TLS.

    Raises OSError where nobody is there, or nobody whose certificate is believed.
    """
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), timeout=_CALL_S) as plug:
        if root_certificate is None:
            return _by_answer(plug)
        return _by_handshake(plug, host, root_certificate)


def _by_handshake(plug: socket.socket, host: str, root_certificate: bytes) -> Spoken:
    """gRPC is HTTP/2, which TLS agrees on; Flower's HTTP is the older, which it need not."""
    context = ssl.create_default_context(cadata=root_certificate.decode("ascii"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(plug, server_hostname=host) as line:
        return "grpc" if line.selected_alpn_protocol() == "h2" else "http"


def _by_answer(plug: socket.socket) -> Spoken:
    """To a question in HTTP/1.1 only its own kind answers in words."""
    plug.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    said = b""
    while len(said) < 5:
        part = plug.recv(5 - len(said))
        if not part:
            break
        said += part
    return "http" if said == b"HTTP/" else "grpc"
