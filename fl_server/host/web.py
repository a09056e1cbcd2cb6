"""The operator's window: Prometheus metrics and a read-only page of the community.

Reads the run's files; it can neither disturb the run nor change anything. It shows everybody's
bills, so it answers on loopback, to a browser that was sent to this host and not lured here, and
elsewhere only to who has its token. Members read their bills at home.
"""

import base64
import binascii
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from common.errors import InputError
from common.files import check_secret, write_secret
from common.processes import is_loopback
from fl_server.host.community_page import draw
from fl_server.host.folder import Folder
from fl_server.host.journal import journal
from fl_server.host.metrics import exposition
from fl_server.host.view import look

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def serve(folder: Folder, host: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/``, ``/metrics`` and ``/status.json`` from a thread. Raises InputError."""
    routes: dict[str, tuple[str, Callable[[], str]]] = {
        "/": ("text/html; charset=utf-8", lambda: draw(look(folder))),
        "/metrics": ("text/plain; version=0.0.4", lambda: exposition(look(folder))),
        "/status.json": ("application/json", lambda: json.dumps(look(folder).status)),
    }
    token = None if is_loopback(host) else page_token(folder)

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "fedwatt", ""
        timeout = 10

        def do_GET(self) -> None:
            # A page elsewhere can lure a browser here by its own name, but knows no token.
            if token is None and not _is_this_host(self.headers.get("Host", "")):
                self.send_error(421, "Ask for this host by the name it serves")
                return
            if token is not None and not _shows(token, self.headers.get("Authorization", "")):
                self.send_error(401, "The page's token, as password or bearer")
                return
            found = routes.get(urlsplit(self.path).path)
            if found is None:
                self.send_error(404)
                return
            body = found[1]().encode()
            self.send_response(200)
            self.send_header("Content-Type", found[0])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_response(self, code: int, message: str | None = None) -> None:
            super().send_response(code, message)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            if code == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="community", charset="UTF-8"')

        def log_message(self, format: str, *args: object) -> None:
            """Visits are not logged."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise InputError(f"page on {host}:{port}: {error.strerror}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    journal("page served", host=host, port=server.server_port)
    return server


def page_token(folder: Folder) -> str:
    """The secret that the page asks for away from loopback; made when first needed."""
    if not folder.page_token.exists():
        write_secret(folder.page_token, (secrets.token_urlsafe(32) + "\n").encode())
    check_secret(folder.page_token)
    token = folder.page_token.read_text(encoding="ascii", errors="replace").strip("\0 \n")
    if len(token) < 16:
        raise InputError(f"{folder.page_token}: no token of 16 letters or more; remove the file")
    return token


def _is_this_host(asked: str) -> bool:
    """Whether a Host header names loopback."""
    try:
        return is_loopback(urlsplit(f"//{asked}").hostname or "")
    except ValueError:
        return False


def _shows(token: str, authorization: str) -> bool:
    """Whether an Authorization header holds the token: as bearer, or as a password."""
    scheme, _, said = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            said = base64.b64decode(said, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(said.strip().encode(), token.encode())
