"""The coordinator's page and metrics, of a run that was really run, in a real browser."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_server.host.folder import Folder
from fl_server.host.status import server_status
from fl_server.host.web import serve
from tests.support.community import NODE, Homes, community, contexts, run
from tests.support.live import INTERVALS, NAMES, SHORT, never, opened

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


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


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium on the path")
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
