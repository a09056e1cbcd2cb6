"""The operator's window: Prometheus metrics and a read-only page of the community.

Reads the run's files; it can neither disturb the run nor change anything. It shows everybody's
bills, so it answers on loopback, to a browser that was sent to this host and not lured here, and
elsewhere only to who has its token. Members read their bills at home.
"""

import json
from http.server import ThreadingHTTPServer

from common import web
from common.web import HTML, JSON, Page, Site, token_of
from fl_server.host.community_page import draw
from fl_server.host.folder import Folder
from fl_server.host.journal import journal
from fl_server.host.metrics import exposition
from fl_server.host.view import look


def serve(folder: Folder, host: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/``, ``/metrics`` and ``/status.json`` from a thread. Raises InputError."""
    pages = {
        "/": Page(HTML, lambda: draw(look(folder))),
        "/metrics": Page("text/plain; version=0.0.4", lambda: exposition(look(folder))),
        "/status.json": Page(JSON, lambda: json.dumps(look(folder).status)),
    }
    server = web.serve(Site(pages), host, port, lambda: token_of(folder.page_token), "community")
    journal("page served", host=host, port=server.server_port)
    return server
