"""Pages served to whom they are meant for, and forms that only their own page can send."""

import http.client
import socket
import sqlite3
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InputError
from common.web import FORM_TOKEN, HTML, Page, Site, at, serve, token_of

# One server answers all examples.
alike = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
Answer = tuple[int, str, http.client.HTTPMessage]


class Served:
    """A site with one page and one form, and what the form was sent."""

    def __init__(self, host: str, token: str) -> None:
        self.sent: list[Mapping[str, str]] = []
        self.trouble: Exception | None = None
        self.site = Site({"/": Page(HTML, self._draw)}, {"/do": self._do})
        self.server = serve(self.site, host, 0, lambda: token, "test")
        self.port = self.server.server_port

    def _draw(self) -> str:
        if self.trouble is not None:
            raise self.trouble
        return "<p>the page</p>"

    def _do(self, fields: Mapping[str, str]) -> None:
        if self.trouble is not None:
            raise self.trouble
        if fields.get("hours") == "no":
            raise InputError("hours: no number")
        self.sent.append(fields)

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        """One request with these headers and no others but Host and Content-Length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers

    def post(self, fields: Mapping[str, str], **headers: str) -> int:
        """Send the form."""
        return self.ask("POST", "/do", urllib.parse.urlencode(fields), **headers)[0]

    def raw(self, method: str, path: str, **headers: bytes) -> int:
        """The status of the answer to a request with these headers, whatever bytes they are; 0
        where there is none."""
        lines = [f"{name.replace('_', '-')}: ".encode() + said for name, said in headers.items()]
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as plug:
            plug.sendall(b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *lines, b"", b""]))
            answer = plug.makefile("rb").readline().split()
        return int(answer[1]) if answer else 0

    @property
    def here(self) -> str:
        """The Origin of the page itself."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(host: str, token: str) -> Iterator[Served]:
    """A site that is served as long as it is looked at."""
    made = Served(host, token)
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving("127.0.0.1", "never asked for") as made:
        yield made


@pytest.fixture
def lan() -> Iterator[Served]:
    """One that the house's other devices reach."""
    with serving("0.0.0.0", "0123456789abcdef") as made:
        yield made


def test_a_form_of_the_page_is_taken_once(served: Served) -> None:
    """With its own Origin and token the fields arrive, and the answer is the page by GET."""
    fields = {"hours": "4", FORM_TOKEN: served.site.form_token}
    code, _, headers = served.ask("POST", "/do", urllib.parse.urlencode(fields), Origin=served.here)
    assert (code, headers["Location"]) == (303, "/")
    assert served.sent == [{"hours": "4"}]


@pytest.mark.parametrize("origin", ["", "null", "http://evil.example", "http://127.0.0.1:1"])
def test_a_form_of_another_page_does_nothing(served: Served, origin: str) -> None:
    """Whatever it knows: the browser says where it comes from, or says nothing."""
    said = {"Origin": origin} if origin else {}
    assert served.post({FORM_TOKEN: served.site.form_token}, **said) == 403
    assert served.sent == []


@pytest.mark.parametrize("token", [None, "", "guessed", "é"])
def test_a_form_without_the_page_s_token_does_nothing(served: Served, token: str | None) -> None:
    """A page loaded from an earlier process, or made by somebody else, holds another one."""
    fields = {} if token is None else {FORM_TOKEN: token}
    assert served.post(fields, Origin=served.here) == 403
    assert served.sent == []


def test_a_lured_browser_changes_nothing(served: Served) -> None:
    """A name of somebody else's that resolves to loopback is not served, its own Origin or not."""
    token = served.site.form_token
    for host in ("evil.example", "127.0.0.1.evil.example", "["):
        code = served.post({FORM_TOKEN: token}, Host=host, Origin=f"http://{host}")
        assert code == 421
        assert served.ask("GET", "/", Host=host)[0] == 421
    assert served.sent == []


def test_forms_that_are_none(served: Served) -> None:
    """No length, too long, too many fields, another path, what the form refuses: an error each."""
    here, token = served.here, served.site.form_token
    assert served.post({FORM_TOKEN: token, "x": "y" * 5000}, Origin=here) == 413
    assert served.post({FORM_TOKEN: token, **{f"x{n}": "" for n in range(20)}}, Origin=here) == 400
    assert served.ask("POST", "/nothing", "", Origin=here)[0] == 404
    code, text, _ = served.ask(
        "POST", "/do", urllib.parse.urlencode({FORM_TOKEN: token, "hours": "no"}), Origin=here
    )
    assert code == 400
    assert "hours: no number" in text
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest("POST", "/do")
    connection.putheader("Origin", here)
    connection.endheaders()
    assert connection.getresponse().status == 411
    assert served.sent == []


def test_every_answer_forbids_frames_and_foreign_content(served: Served) -> None:
    """Errors as well as pages; nobody may show the form inside a page of theirs."""
    for path in ("/", "/nothing"):
        policy = served.ask("GET", path)[2]["Content-Security-Policy"]
        for rule in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"):
            assert rule in policy


def test_away_from_loopback_the_token_lets_in(tmp_path: Path) -> None:
    """Page and form alike; the form still takes its own page's Origin and token."""
    token = token_of(tmp_path / "page.token")
    with serving("0.0.0.0", token) as served:
        fields, right = {FORM_TOKEN: served.site.form_token}, f"Bearer {token}"
        assert served.ask("GET", "/")[0] == 401
        assert served.ask("GET", "/", Authorization=right, Host="home.lan")[0] == 200
        assert served.post(fields, Host="home.lan", Origin="http://home.lan") == 401
        for origin, code in (("http://evil.example", 403), ("http://home.lan", 303)):
            asked = served.post(fields, Host="home.lan", Origin=origin, Authorization=right)
            assert asked == code
        assert served.sent == [{}]


@alike
@given(st.from_regex(r"[1-9][0-9]{4,6000}", fullmatch=True))
def test_a_length_that_no_form_has_is_answered(served: Served, digits: str) -> None:
    """However many digits it has; nothing of what follows is read."""
    sent = {"Host": b"localhost", "Origin": b"http://localhost", "Content_Length": digits.encode()}
    assert served.raw("POST", "/do", **sent) in (400, 413)
    assert served.sent == []


@alike
@given(st.sampled_from([b"Basic ", b"Bearer ", b""]), st.binary(max_size=60))
def test_no_bytes_but_the_token_let_in(lan: Served, scheme: bytes, said: bytes) -> None:
    """Neither base64, nor UTF-8, nor ASCII: asked for the token all the same."""
    said = said.translate(None, b"\r\n")
    assert lan.raw("GET", "/", Host=b"home.lan", Authorization=scheme + said) == 401


def test_a_path_that_is_no_url_is_answered(served: Served) -> None:
    """As a proxy would ask for it, with half an IPv6 address."""
    assert served.raw("GET", "http://[/", Host=b"localhost") == 400


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (sqlite3.OperationalError("database is locked"), "database is locked: try again"),
        (OSError(28, "No space left on device"), "No space left on device: try again"),
    ],
)
def test_what_the_world_does_is_said(served: Served, trouble: Exception, words: str) -> None:
    """Page and form alike: 503 and a sentence, not a closed connection."""
    served.trouble = trouble
    fields = urllib.parse.urlencode({FORM_TOKEN: served.site.form_token})
    for method, path, body in (("GET", "/", None), ("POST", "/do", fields)):
        code, text, _ = served.ask(method, path, body, Origin=served.here)
        assert code == 503
        assert words in text


def test_by_ipv6(tmp_path: Path) -> None:
    """``::1`` is loopback: served without a token, and its own form is taken."""
    site = Site({"/": Page(HTML, lambda: "here")}, {"/do": lambda fields: None})
    try:
        server = serve(site, "::1", 0, lambda: "never asked for", "test")
    except InputError as error:
        pytest.skip(f"no IPv6 here: {error}")
    try:
        port = server.server_port
        connection = http.client.HTTPConnection("::1", port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"here"
        fields = urllib.parse.urlencode({FORM_TOKEN: site.form_token})
        connection.request("POST", "/do", fields, {"Origin": f"http://{at('::1', port)}"})
        assert connection.getresponse().status == 303
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["::x", "a..b", "x" * 300, "no.such.host.invalid"])
def test_what_is_no_host_is_refused(host: str) -> None:
    """One line that names it."""
    with pytest.raises(InputError, match="page on") as error:
        serve(Site({}), host, 0, lambda: "0123456789abcdef", "test")
    assert "\n" not in str(error.value)
