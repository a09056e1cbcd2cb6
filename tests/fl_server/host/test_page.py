"""The coordinator's page and metrics, of a run that was really run, in a real browser."""

import base64
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pandas as pd
import pytest

from common.cadence import Cadence
from common.errors import InputError
from fl_server.host.community_page import draw
from fl_server.host.folder import Folder
from fl_server.host.metrics import exposition
from fl_server.host.status import server_status
from fl_server.host.tally import Tally
from fl_server.host.view import look
from fl_server.host.web import serve
from tests.support.browser import BROWSER, WHAT_TO_INSTALL
from tests.support.community import NODE, Homes, community, contexts, run
from tests.support.live import INTERVALS, NAMES, SHORT, never, opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, homes: Path) -> Folder:
    """A finished run with two model rounds; one household has gone away at the end."""
    root = tmp_path_factory.mktemp("page")
    made = community(root / "server", homes, NAMES, *SHORT)
    grid = Homes(contexts(root, homes, NAMES, made), never)
    run(made, grid)
    status = json.loads(made.status.read_text())
    status["households"][NAMES[2]]["online"] = False
    made.status.write_text(json.dumps(status))
    assert NODE in set(grid.get_node_ids())
    return made


@pytest.fixture(scope="module")
def url(folder: Folder) -> Iterator[str]:
    server = serve(folder, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        text: str = reply.read().decode()
        return text


def samples(text: str) -> dict[str, float]:
    """Samples of a Prometheus exposition; every line must have its form."""
    values = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP|TYPE) fedwatt_\w+ .+", line), line
            continue
        found = re.fullmatch(r'(fedwatt_\w+(?:\{\w+="[^"]*"\})?) (-?[\d.e+-]+)', line)
        assert found, line
        assert found[1] not in values
        values[found[1]] = float(found[2])
    return values


def test_metrics_tell_what_the_run_did(url: str, folder: Folder) -> None:
    """Rounds, replies, price, volume, lag, drops and bytes, as the run's own files have them."""
    values = samples(get(f"{url}/metrics"))
    lines = [json.loads(x) for x in (folder.run / "intervals.jsonl").read_text().splitlines()]
    rounds = [json.loads(x) for x in (folder.run / "rounds.jsonl").read_text().splitlines()]
    assert values["fedwatt_up"] == 0
    assert values["fedwatt_market_rounds_total"] == INTERVALS
    assert values["fedwatt_model_rounds_total"] == 2
    traded = sum(line["delivered_kwh"] for line in lines)
    assert values["fedwatt_traded_kwh_total"] == pytest.approx(traded)
    assert values['fedwatt_model_updates_total{result="accepted"}'] == 6
    assert values['fedwatt_model_updates_total{result="dropped"}'] == 0
    assert values['fedwatt_model_bytes_total{direction="up"}'] == sum(r["bytes_up"] for r in rounds)
    assert values['fedwatt_market_bytes{direction="up"}'] > 0
    assert values['fedwatt_household_online{household="H0003"}'] == 0
    assert values['fedwatt_household_online{household="H0001"}'] == 1


def test_page_is_read_only_and_nothing_else_is_served(url: str) -> None:
    """GET of three addresses; no other path, no other method."""
    assert json.loads(get(f"{url}/status.json"))["phase"] == "finished"
    for path, method in (("/../server.yaml", "GET"), ("/tls/ca.key", "GET"), ("/", "POST")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(
                urllib.request.Request(
                    url + path, method=method, data=b"" if method == "POST" else None
                ),
                timeout=30,
            )
        assert refused.value.code in (404, 501)


def test_bills_are_the_ledgers(url: str, folder: Folder) -> None:
    """Each household's bill on the page is its balance in the ledger."""
    with opened(folder.run) as ledger:
        booked = ledger.balances()
    text = get(url)
    for name in NAMES:
        row = re.search(rf"<tr><td>{name}</td>.*?</tr>", text)
        assert row
        cells = re.findall(r"<td>(.*?)</td>", row[0])
        assert cells[4] == f"{-booked[name][1] / 1e6:.2f}"


@pytest.mark.skipif(BROWSER is None, reason=WHAT_TO_INSTALL)
def test_page_in_a_browser(url: str, tmp_path: Path) -> None:
    """Chromium draws it with nothing to complain of, and asks nobody else for anything."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
            "--window-size=1000,1200", f"--screenshot={tmp_path / 'page.png'}", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "2 of 3" in done.stdout
    assert '<span class="off">away</span>' in done.stdout
    assert done.stdout.count("<rect") == INTERVALS
    assert "CONSOLE" not in done.stderr
    assert "://" not in done.stdout


def test_status_says_what_is_up(folder: Folder) -> None:
    """The facts of ``fedwatt status``: not running, finished, one away, nothing owed."""
    facts = server_status(folder.root)
    assert facts["running"] is False
    assert facts["phase"] == "finished"
    assert facts["away"] == "H0003"
    assert facts["not settled"] == "nothing"
    assert facts["interval"] == f"{INTERVALS} of {INTERVALS}"


YEAR = 365 * 48


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory, folder: Folder) -> Folder:
    """The folder of 50 homes at the end of a year: as many lines, as many households to show."""
    made = Folder(tmp_path_factory.mktemp("year"))
    made.run.mkdir()
    line = json.loads((folder.run / "intervals.jsonl").read_text().splitlines()[-1])
    with (made.run / "intervals.jsonl").open("w") as file:
        file.writelines(json.dumps(line | {"interval": t}) + "\n" for t in range(YEAR))
    line = json.loads((folder.run / "rounds.jsonl").read_text().splitlines()[-1])
    with (made.run / "rounds.jsonl").open("w") as file:
        file.writelines(json.dumps(line | {"round": t}) + "\n" for t in range(YEAR // 6))
    status = json.loads(folder.status.read_text())
    home = status["households"][NAMES[0]]
    status["households"] = {f"H{h:04d}": home for h in range(50)}
    made.status.write_text(json.dumps(status))
    return made


def test_a_look_costs_no_more_late_in_a_year(year: Folder) -> None:
    """Page, metrics and status of 50 homes after a year: under 50 ms of the process's own time
    each, the median of nine; nothing is added up that has been before."""
    took: dict[str, list[float]] = {}
    for _ in range(9):
        for name, show in (
            ("page", lambda: draw(look(year))),
            ("metrics", lambda: exposition(look(year))),
            ("status", lambda: json.dumps(look(year).status)),
        ):
            begin = time.process_time()
            text = show()
            took.setdefault(name, []).append(time.process_time() - begin)
            assert "H0049" in text
    assert {name: sorted(seconds)[4] < 0.05 for name, seconds in took.items()} == dict.fromkeys(
        took, True
    )


def test_bills_are_added_up_once(folder: Folder) -> None:
    """What a coordinator's tally counts bit by bit is what the ledger and the files hold in all."""
    lines = [json.loads(x) for x in (folder.run / "intervals.jsonl").read_text().splitlines()]
    with opened(folder.run) as ledger:
        tally = Tally(ledger, folder.run, pd.Timestamp(lines[0]["time"]), Cadence().step)
        for _ in range(2):
            tally.catch_up()
            totals, bills = tally.totals(), tally.bills()
            assert totals["intervals"] == INTERVALS
            assert totals["orders"] == sum(line["orders"] for line in lines)
            assert totals["delivered_kwh"] == pytest.approx(
                sum(line["delivered_kwh"] for line in lines)
            )
            booked = ledger.balances()
            assert {name: round(-bill[1] * 1e6) for name, bill in bills.items()} == {
                name: booked[name][1] for name in NAMES
            }
        # The run is half a day of one calendar day: what is owed in all is owed today.
        assert all(today == total for today, total in bills.values())
    status = json.loads(folder.status.read_text())
    assert status["totals"] == totals
    assert {n: h["bill"] for n, h in status["households"].items()} == {
        name: total for name, (_, total) in bills.items()
    }


def ask(url: str, **headers: str) -> tuple[int, str, Message]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode(), reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


@pytest.mark.parametrize("path", ["/", "/metrics", "/status.json", "/nothing"])
def test_a_browser_lured_here_gets_nothing(url: str, path: str) -> None:
    """A name of somebody else's that resolves to loopback (DNS rebinding) is not served, nor a
    malformed one; loopback's own names are. Error pages carry the same policy."""
    for host in ("evil.example", "evil.example:9480", "127.0.0.1.evil.example", "[", "a b", ""):
        code, text, headers = ask(url + path, Host=host)
        assert code == 421
        assert NAMES[0] not in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    for host in ("localhost", "127.0.0.1:9480", "LOCALHOST:1", "[::1]:9480"):
        assert ask(url + path, Host=host)[0] == (404 if path == "/nothing" else 200)


def test_away_from_loopback_the_page_asks_for_its_token(folder: Folder) -> None:
    """Nothing without the token in the folder's secret file: bearer, or any user's password."""
    server = serve(folder, "0.0.0.0", 0)
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        file = folder.page_token
        assert file.stat().st_mode & 0o777 == 0o600
        token = file.read_text().strip()
        right = base64.b64encode(f"me:{token}".encode()).decode()
        wrong = base64.b64encode(b"me:guessed").decode()
        for path in ("/", "/metrics", "/status.json", "/nothing"):
            guesses = ("", "Bearer x", f"Bearer {token}x", f"Basic {wrong}", "Basic ?", token)
            for said in guesses:
                code, text, headers = ask(url + path, Authorization=said)
                assert code == 401
                assert headers["WWW-Authenticate"].startswith("Basic")
                assert NAMES[0] not in text
            for said in (f"Bearer {token}", f"Basic {right}"):
                expected = 404 if path == "/nothing" else 200
                assert ask(url + path, Authorization=said, Host="grid.example")[0] == expected
    finally:
        server.shutdown()
        server.server_close()
    file.write_text("\0\0")
    with pytest.raises(InputError, match="no token"):
        serve(folder, "0.0.0.0", 0)
    file.chmod(0o644)
    with pytest.raises(InputError, match="others may read"):
        serve(folder, "0.0.0.0", 0)


def test_a_page_says_why_model_rounds_fail(folder: Folder) -> None:
    """The reasons of dropped replies and where logs are, where there are any; a column in which no
    round has a value is left out."""
    seen = look(folder)
    assert "Validation loss" in draw(seen)
    assert "coordinator.jsonl" not in draw(seen)
    bad = {"dropped": 2, "dropped_reasons": {"error reply": 2}, "val_loss": None, "failed": "a<b"}
    text = draw(replace(seen, rounds=[line | bad for line in seen.rounds[:1]]))
    assert "<p>Round 1: error reply (2); a&lt;b.</p>" in text
    assert "coordinator.jsonl" in text
    assert "Validation loss" not in text


def test_no_label_of_an_axis_is_cut(folder: Folder) -> None:
    """The letters of a narrow screen, 24 units high, fit beside and above the chart."""
    text = draw(look(folder))
    for x, label in re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="end">([\d.]+)<', text):
        assert float(x) >= 24 * 0.6 * len(label)
    assert all(float(y) >= 18 for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)"', text))


def test_a_page_without_a_run_says_so(tmp_path: Path) -> None:
    """Before the first run, and where power cuts have emptied what it reads."""
    folder = Folder(tmp_path)
    assert "No run has begun" in draw(look(folder))
    assert samples(exposition(look(folder))) == {"fedwatt_up": 0}
    folder.run.mkdir()
    for name in ("status.json", "intervals.jsonl", "rounds.jsonl"):
        (folder.run / name).write_bytes(b"\0\0\0")
    folder.members.write_text("")
    assert "No run has begun" in draw(look(folder))
