"""Which way a coordinator speaks to households, found out by one connection.

No setting of the household's: when the coordinator changes its way, nobody at home has to know.
Nothing secret is said, so nobody's certificate is looked at: the connection that follows does that.
"""

import socket
import ssl
from typing import Literal

Spoken = Literal["grpc", "http"]

_CALL_S = 10.0


def spoken(server: str, *, secure: bool) -> Spoken:
    """What HOST:PORT speaks. Raises OSError where nobody is there."""
    host, _, port = server.rpartition(":")
    plug = socket.create_connection((host.strip("[]"), int(port)), timeout=_CALL_S)
    with plug:
        return _by_handshake(plug) if secure else _by_answer(plug)


def _by_handshake(plug: socket.socket) -> Spoken:
    """gRPC is HTTP/2, which TLS agrees on; Flower's HTTP is the older, which it need not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(plug) as line:
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
