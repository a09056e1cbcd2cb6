"""The process that shows a household to the people of the house: its page.

    python -m fl_client.host.window HOME

It reads the household's own records and can harm none of them: it may end, and be started again,
while everything else goes on.
"""

import json
import logging
import secrets
import signal
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

from common import web
from common.errors import InputError
from common.web import HTML, JSON, Page, Site, token_of
from fl_client.home.clock import read_clock
from fl_client.host.client_file import read_client
from fl_client.host.house_battery import draw_battery, override
from fl_client.host.house_figures import figures
from fl_client.host.house_page import draw
from fl_client.host.house_view import look

TOKEN = "page.token"
"""In the household's folder: what the page asks for away from loopback."""
_PORT_TAKEN_S = 60.0
_WHO = "the page of the house"
_log = logging.getLogger(__name__)


def serve(home: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Serve ``/`` and ``/status.json`` from a thread. Raises InputError."""
    name, clock = read_client(home).name, read_clock(home)
    form_token = secrets.token_urlsafe(32)

    def page() -> str:
        view = look(home, name, clock)
        return draw(view, draw_battery(view, form_token))

    pages = {
        "/": Page(HTML, page),
        "/status.json": Page(JSON, lambda: json.dumps(figures(look(home, name, clock)))),
    }
    forms = {"/override": lambda fields: override(home, clock, fields, _WHO)}
    server = web.serve(
        Site(pages, forms, form_token), host, port, lambda: token_of(home / TOKEN), "house"
    )
    _log.info("http://%s:%d/", host, server.server_port)
    return server


def main() -> int:
    """Show the household until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="fedwatt page: %(message)s")
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    home = Path(sys.argv[1])
    server = None
    try:
        file = read_client(home)
        while server is None and not stop.is_set():
            try:
                server = serve(home, file.page_host, file.page_port)
            except InputError as error:
                _log.warning("no page for now: %s", error)
                stop.wait(_PORT_TAKEN_S)
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        return 2
    stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
