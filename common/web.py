"""Pages that a process serves from a thread: to this host's own browser, or to who has the token.

On loopback it answers a browser that was sent to this host and not lured here by another name that
resolves to it; elsewhere who shows the token. What changes something is asked for by POST, from
one of these pages: the browser says which (Origin), and the form carries a token of its own.
"""

import base64
import hmac
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

from common.errors import InputError, of_the_world
from common.files import check_secret, write_secret
from common.processes import is_loopback

HTML, JSON = "text/html; charset=utf-8", "application/json"
FORM_TOKEN = "token"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # With no-referrer a browser would not say either which page a form was on.
    "Referrer-Policy": "same-origin",
}
_LARGEST_FORM = 4096
_LONGEST_LENGTH = 18  # digits of a Content-Length that still counts bytes
_T = TypeVar("_T")


class Page(NamedTuple):
    """What is answered to a GET: its kind, as in HTML, and what draws it."""

    kind: str
    draw: Callable[[], str]


@dataclass(frozen=True)
class Site:
    """Pages by path; forms by path, each given its fields. A form's answer is the page ``/``.

    ``form_token``: what a form must carry as the field FORM_TOKEN; another in every process.
    """

    pages: Mapping[str, Page]
    forms: Mapping[str, Callable[[Mapping[str, str]], None]] = field(default_factory=dict)
    form_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class _Refused(Exception):
    """A request that is answered with an error: its status and words."""


def serve(
    site: Site, host: str, port: int, token: Callable[[], str], realm: str
) -> ThreadingHTTPServer:
    """Serve a site from a thread, by IPv6 where ``host`` is such an address; port 0 is any free
    one. Raises InputError where that cannot be.

    ``token``: asked for, and called, away from loopback alone.
    """
    needed = None if is_loopback(host) else token()

    class Handler(_Handler):
        pass

    Handler.site, Handler.token, Handler.realm = site, needed, realm

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = Server((host, port), Handler)
    except (OSError, OverflowError, ValueError) as error:
        # ValueError: what no name of a host can be made of.
        words = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"page on {at(host, port)}: {words}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def at(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def token_of(path: Path) -> str:
    """The secret that a page asks for away from loopback; made when first needed.

    Raises InputError where others may read it, or it is none.
    """
    if not path.exists():
        write_secret(path, (secrets.token_urlsafe(32) + "\n").encode())
    check_secret(path)
    token = path.read_text(encoding="ascii", errors="replace").strip("\0 \n")
    if len(token) < 16:
        raise InputError(f"{path}: no token of 16 letters or more; remove the file")
    return token


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "fedwatt", ""
    timeout = 10
    site: Site
    token: str | None
    realm: str

    def do_GET(self) -> None:
        self._answer(self._page)

    def do_POST(self) -> None:
        self._answer(self._form)

    def _answer(self, answer: Callable[[], None]) -> None:
        try:
            self._check()
            answer()
        except _Refused as refused:
            self.send_error(*refused.args)
        except InputError as error:
            self.send_error(503, "Not now", str(error))

    def _check(self) -> None:
        """Let in who may see the page. Raises _Refused."""
        # A page elsewhere can lure a browser here by its own name, but knows no token.
        if self.token is None and not _is_this_host(self.headers.get("Host", "")):
            raise _Refused(421, "Ask for this host by the name it serves")
        if self.token is not None and not _shows(self.token, self._said("Authorization")):
            raise _Refused(401, "The page's token, as password or bearer")

    def _page(self) -> None:
        found = self.site.pages.get(self._place())
        if found is None:
            raise _Refused(404)
        body = _tried(found.draw, "Not now").encode()
        self.send_response(200)
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _form(self) -> None:
        if not self.site.forms:
            raise _Refused(501, "Nothing is changed here")
        form = self.site.forms.get(self._place())
        if form is None:
            raise _Refused(404)
        if self._said("Origin") not in {f"{s}://{self._said('Host')}" for s in ("http", "https")}:
            raise _Refused(403, "Only a form of this page changes anything")
        fields = self._fields()
        if not hmac.compare_digest(
            fields.pop(FORM_TOKEN, "").encode(), self.site.form_token.encode()
        ):
            raise _Refused(403, "The page is an old one: load it again")
        try:
            _tried(lambda: form(fields), "Not done")
        except InputError as error:
            raise _Refused(400, "Not done", str(error)) from None
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _place(self) -> str:
        try:
            return urlsplit(self.path).path
        except ValueError:
            raise _Refused(400) from None

    def _fields(self) -> dict[str, str]:
        length = self._said("Content-Length")
        if not length.isascii() or not length.isdigit():
            raise _Refused(411)
        if len(length) > _LONGEST_LENGTH:
            raise _Refused(400)
        if int(length) > _LARGEST_FORM:
            raise _Refused(413)
        text = self.rfile.read(int(length)).decode("utf-8", "replace")
        try:
            found = parse_qs(text, keep_blank_values=True, max_num_fields=16)
        except ValueError:
            raise _Refused(400) from None
        return {name: values[-1] for name, values in found.items()}

    def _said(self, header: str) -> str:
        return str(self.headers.get(header, ""))

    def send_response(self, code: int, message: str | None = None) -> None:
        super().send_response(code, message)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if code == 401:
            self.send_header("WWW-Authenticate", f'Basic realm="{self.realm}", charset="UTF-8"')

    def log_message(self, format: str, *args: object) -> None:
        """Visits are not logged."""


def _tried(work: Callable[[], _T], heading: str) -> _T:
    """What ``work`` returns. Raises _Refused where the world is in its way: a locked file, say."""
    try:
        return work()
    except (sqlite3.Error, OSError) as error:
        raise _Refused(503, heading, f"{of_the_world(error)}: try again in a minute") from None


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
        except ValueError:  # neither base64 nor UTF-8, or not even ASCII
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(said.strip().encode(), token.encode())
