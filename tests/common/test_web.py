"""Pages served to whom they are meant for, and forms that only their own page can send."""

import http.client
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from common.errors import InputError
from common.web import FORM_TOKEN, HTML, Page, Site, serve, token_of

Answer = tuple[int, str, http.client.HTTPMessage]


class Served:
    """A site with one page and one form, and what the form was sent."""

    def __init__(self, host: str, token: str) -> None:
        self.sent: list[Mapping[str, str]] = []
        self.site = Site({"/": Page(HTML, lambda: "<p>the page</p>")}, {"/do": self._do})
        self.server = serve(self.site, host, 0, lambda: token, "test")
        self.port = self.server.server_port

    def _do(self, fields: Mapping[str, str]) -> None:
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

    @property
    def here(self) -> str:
        """The Origin of the page itself."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served("127.0.0.1", "never asked for")
    yield made
    made.server.shutdown()
    made.server.server_close()


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
    served = Served("0.0.0.0", token)
    try:
        fields, right = {FORM_TOKEN: served.site.form_token}, f"Bearer {token}"
        assert served.ask("GET", "/")[0] == 401
        assert served.ask("GET", "/", Authorization=right, Host="home.lan")[0] == 200
        assert served.post(fields, Host="home.lan", Origin="http://home.lan") == 401
        for origin, code in (("http://evil.example", 403), ("http://home.lan", 303)):
            asked = served.post(fields, Host="home.lan", Origin=origin, Authorization=right)
            assert asked == code
        assert served.sent == [{}]
    finally:
        served.server.shutdown()
        served.server.server_close()
