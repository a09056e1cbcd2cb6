"""The coordinator's window: Prometheus metrics and a read-only page of the community.

Reads the run's files; it can neither disturb the run nor change anything. Loopback unless the
keeper says otherwise: bills are for the community, not for the street.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from common.errors import InputError
from fl_server.host.community_page import draw
from fl_server.host.folder import Folder
from fl_server.host.journal import journal
from fl_server.host.metrics import exposition
from fl_server.host.view import look

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def serve(folder: Folder, host: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/``, ``/metrics`` and ``/status.json`` from a thread. Raises InputError."""
    routes: dict[str, tuple[str, Callable[[], str]]] = {
        "/": ("text/html; charset=utf-8", lambda: draw(look(folder))),
        "/metrics": ("text/plain; version=0.0.4", lambda: exposition(look(folder))),
        "/status.json": ("application/json", lambda: json.dumps(look(folder).status)),
    }

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "fedwatt", ""
        timeout = 10

        def do_GET(self) -> None:
            found = routes.get(urlsplit(self.path).path)
            if found is None:
                self.send_error(404)
                return
            body = found[1]().encode()
            self.send_response(200)
            self.send_header("Content-Type", found[0])
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

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
