"""The process that shows a household to the people of the house: its page, its Home Assistant.

    python -m fl_client.host.window HOME

It reads the household's own records and can harm none of them: it may end, and be started again,
while everything else goes on.
"""

import json
import logging
import secrets
import signal
import sqlite3
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue

from common import web
from common.errors import InputError, of_the_world
from common.web import HTML, JSON, Page, Site, token_of
from fl_client.control.record import RECORD
from fl_client.control.settings import CONTROL
from fl_client.home.clock import HouseClock, read_clock
from fl_client.host.client_file import read_client
from fl_client.host.client_file import secrets as client_secrets
from fl_client.host.house_battery import CLEAR, SET, draw_battery, override
from fl_client.host.house_figures import figures
from fl_client.host.house_page import draw
from fl_client.host.house_view import look

TOKEN = "page.token"
"""In the household's folder: what the page asks for away from loopback."""
_AGAIN_S = 60.0
_TELL_S = 10.0
_LOOK_S = 0.5  # from a press of the switch to what it does
_WHO = "the page of the house"
_TROUBLE = (InputError, sqlite3.Error, OSError)
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
    _log.info("http://%s/", web.at(host, server.server_port))
    return server


def main() -> int:
    """Show the household until SIGTERM or SIGINT; status 1 where its Home Assistant is told nothing
    any more, so that the keeper starts this again."""
    logging.basicConfig(level=logging.INFO, format="fedwatt page: %(message)s")
    stop, ended = threading.Event(), threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    home = Path(sys.argv[1])
    try:
        file = read_client(home)
        teller = threading.Thread(target=_keep_telling, args=(home, stop, ended), daemon=True)
        if file.discovery:
            teller.start()
        server = None
        while file.page_port and server is None and not stop.is_set():
            try:
                server = serve(home, file.page_host, file.page_port)
            except InputError as error:
                _log.warning("no page for now: %s", error)
                stop.wait(_AGAIN_S)
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        return 2
    stop.wait()
    if file.discovery:
        teller.join(timeout=5)
    return 1 if ended.is_set() else 0


def _keep_telling(home: Path, stop: threading.Event, ended: threading.Event) -> None:
    """Tell Home Assistant until ``stop`` is set; sets it too, and ``ended``, at any other end."""
    try:
        while not stop.is_set():
            try:
                tell(home, stop)
            except _TROUBLE as error:
                # A secret that is missing, say, takes nobody the page.
                _log.warning("Home Assistant is told nothing for now: %s", _words(error))
                stop.wait(_AGAIN_S)
    finally:
        if not stop.is_set():
            ended.set()
            stop.set()


def tell(home: Path, stop: threading.Event) -> None:
    """Tell the house's Home Assistant what there is to see until ``stop`` is set, and do what its
    switch says. Raises InputError, and OSError, where that cannot begin."""
    from fl_client.host.entities import Entities  # only where it is wanted

    file, clock = read_client(home), read_clock(home)
    # Done in this thread: that of the connection would be silent while a file is busy, and gone
    # for good after an error.
    pressed: SimpleQueue[bool] = SimpleQueue()
    steered = (home / CONTROL).exists() or (home / RECORD).exists()
    entities = Entities(
        file.name, client_secrets(home), file.discovery, file.currency,
        pressed.put if steered else None,
    )  # fmt: skip
    entities.start()
    said = ""
    try:
        while not stop.is_set():
            try:
                entities.tell(figures(look(home, file.name, clock)))
                said = ""
            except _TROUBLE as error:
                if _words(error) != said:
                    said = _words(error)
                    _log.warning("nothing to tell: %s", said)
            # Told soon where somebody has pressed the switch, and else as often as meters speak.
            end = time.monotonic() + max(clock.wall(_TELL_S), 1.0)
            while time.monotonic() < end and not stop.wait(_LOOK_S):
                if not pressed.empty():
                    _overrule(home, clock, pressed)
                    break
    finally:
        entities.close()


def _overrule(home: Path, clock: HouseClock, pressed: "SimpleQueue[bool]") -> None:
    """Do what the switch was told last; what cannot be done is said."""
    wanted = pressed.get()
    while not pressed.empty():
        wanted = pressed.get()
    try:
        override(home, clock, {"do": SET if wanted else CLEAR}, "Home Assistant")
    except _TROUBLE as error:
        words = "on" if wanted else "off"
        _log.warning("override %s, by Home Assistant: not done: %s", words, _words(error))


def _words(error: Exception) -> str:
    return of_the_world(error) or str(error)


if __name__ == "__main__":
    sys.exit(main())
