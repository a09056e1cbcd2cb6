"""The process that shows a household to the people of the house: its page, its Home Assistant.

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
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

from common import web
from common.errors import InputError
from common.web import HTML, JSON, Page, Site, token_of
from fl_client.control.record import RECORD
from fl_client.control.settings import CONTROL
from fl_client.home.clock import read_clock
from fl_client.host.client_file import read_client
from fl_client.host.client_file import secrets as client_secrets
from fl_client.host.house_battery import CLEAR, SET, draw_battery, override
from fl_client.host.house_figures import figures
from fl_client.host.house_page import draw
from fl_client.host.house_view import look

TOKEN = "page.token"
"""In the household's folder: what the page asks for away from loopback."""
_PORT_TAKEN_S = 60.0
_TELL_S = 10.0
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
    try:
        file = read_client(home)
        teller = threading.Thread(target=tell, args=(home, stop), daemon=True)
        if file.discovery:
            teller.start()
        server = None
        while file.page_port and server is None and not stop.is_set():
            try:
                server = serve(home, file.page_host, file.page_port)
            except InputError as error:
                _log.warning("no page for now: %s", error)
                stop.wait(_PORT_TAKEN_S)
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        return 2
    stop.wait()
    if file.discovery:
        teller.join(timeout=5)
    return 0


def tell(home: Path, stop: threading.Event) -> None:
    """Tell the house's Home Assistant what there is to see until ``stop`` is set."""
    from fl_client.host.entities import Entities  # only where it is wanted

    file, clock = read_client(home), read_clock(home)

    def overruled(wanted: bool) -> None:
        try:
            override(home, clock, {"do": SET if wanted else CLEAR}, "Home Assistant")
        except InputError as error:
            _log.warning("%s", error)
        changed.set()

    changed = threading.Event()
    steered = (home / CONTROL).exists() or (home / RECORD).exists()
    entities = Entities(
        file.name, client_secrets(home), file.discovery, file.currency,
        overruled if steered else None,
    )  # fmt: skip
    entities.start()
    said = ""
    try:
        while not stop.is_set():
            changed.clear()
            try:
                entities.tell(figures(look(home, file.name, clock)))
                said = ""
            except InputError as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("nothing to tell: %s", said)
            # Told soon where somebody has pressed the switch, and else as often as meters speak.
            end = time.monotonic() + max(clock.wall(_TELL_S), 1.0)
            while time.monotonic() < end and not (stop.wait(0.5) or changed.is_set()):
                pass
    finally:
        entities.close()


if __name__ == "__main__":
    sys.exit(main())
