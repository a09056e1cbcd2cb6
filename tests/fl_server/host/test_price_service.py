"""A deployment whose prices come from a service: on time, late, or not at all."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from flwr.app import Message

from common.config import Settings, load
from common.errors import InputError
from fl_server.host.asking import Asking
from fl_server.host.folder import Folder
from fl_server.host.tariff_file import PublishedTariff
from fl_server.price_sources.pieces import Pieces
from tests.support.community import Homes, community, contexts, run, simulated
from tests.support.live import INTERVALS, MARKET_ONLY, NAMES, never, rows
from tests.support.price_server import PriceServer, pence, price_server, slow, status

STEP = pd.Timedelta(minutes=30)
START = pd.Timestamp("2026-03-28T23:00Z")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PriceServer]:
    monkeypatch.setenv("FEDWATT_CACHE", str(tmp_path / "cache"))
    with price_server() as one:
        yield one


def agile(server: PriceServer, *override: str) -> tuple[str, ...]:
    """Settings of Agile and Outgoing from this server."""
    options = {"url": server.url, "product": "AGILE-24-10-01", "region": "C",
               "outgoing": "AGILE-OUTGOING-19-05-13", "timeout_s": 10, "tries": 1}  # fmt: skip
    return (
        "tariff.source=octopus",
        f"tariff.source_options={json.dumps(options)}",
        "tariff.vat=0.05",
        *override,
    )


def told(directory: Path) -> list[float]:
    lines = [json.loads(x) for x in (directory / "intervals.jsonl").read_text().splitlines()]
    return [line["retail"] for line in lines]


def prices(start: pd.Timestamp, count: int) -> list[float]:
    return [pence(start + t * STEP) / 100 * 1.05 for t in range(count)]


def test_a_deployment_is_settled_as_a_simulation_with_the_same_service(
    homes: Path, tmp_path: Path, server: PriceServer
) -> None:
    """Prices of Agile with VAT, exports at Outgoing: the deployment's ledger is the simulation's,
    row by row; where the service tells them, and no household, is in no message."""
    day = (*MARKET_ONLY, "run.days=0.5", *agile(server))
    folder = community(tmp_path / "server", homes, NAMES, *day, hour=0)
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    directory = simulated(homes, tmp_path / "simulated", folder, len(NAMES))
    assert rows(folder.run) == rows(directory)
    start = pd.Timestamp(json.loads((directory / "reports.json").read_text())["start"])
    assert told(folder.run) == pytest.approx(prices(start, 24))


def test_a_day_that_comes_late(homes: Path, tmp_path: Path, server: PriceServer) -> None:
    """Published up to the sixth interval, the rest only while the ninth runs: meanwhile the price
    before holds, from the tenth on it is what was published, and nothing told is taken back."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY, *agile(server))
    live = json.loads(folder.live.read_text())
    start = pd.Timestamp(live["start"])
    server.until = start + 6 * STEP

    def late(message: Message) -> bool:
        if int(message.metadata.group_id.partition("-")[0]) >= 8:
            server.until = start + 400 * STEP
        return False

    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), late))
    true = prices(start, INTERVALS)
    assert told(folder.run) == pytest.approx([*true[:6], *[true[5]] * 3, *true[9:]])


@pytest.fixture
def settings(server: PriceServer) -> Settings:
    return load(None, ["run.days=3", "tariff.published_hours=36", *agile(server)])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.run.mkdir()
    return made


def test_a_run_needs_its_first_price(
    server: PriceServer, settings: Settings, folder: Folder
) -> None:
    """Before the first interval there is nothing to go on with: one line, and no run."""
    server.faults = [status(503)] * 9
    with pytest.raises(InputError, match="status 503"):
        PublishedTariff(folder, settings, START)
    server.faults = []
    server.until = START
    with pytest.raises(InputError, match="no price for"):
        PublishedTariff(folder, settings, START)


def test_an_outage_holds_up_no_round_for_long(
    server: PriceServer, settings: Settings, folder: Folder
) -> None:
    """While prices are known ahead nobody waits for the service, however slow; where that of the
    interval itself is missing it is waited for a moment, said, and the day before holds."""
    server.until = START + 50 * STEP
    tariff = PublishedTariff(folder, settings, START)
    list(tariff.tell(0))
    server.faults = [slow(0.4)] * 99
    tariff._common._service._asked = -1e9  # type: ignore[union-attr]
    begin = time.monotonic()
    assert list(tariff.tell(1)) == []
    assert time.monotonic() - begin < 0.2
    time.sleep(0.6)
    server.faults = [status(500)] * 99
    said = [event for event, _ in tariff.tell(50)]
    assert said == ["tariff refused", "no price published: that of the day before holds"]
    assert tariff.prices.common[50] == tariff.prices.common[2]
    server.faults = []
    server.until = START + 200 * STEP
    assert list(tariff.tell(51)) == []
    assert tariff.prices.common[51] == pytest.approx(pence(START + 51 * STEP) / 100)
    assert tariff.prices.common[50] == tariff.prices.common[2]


def test_started_again_it_knows_what_was_told(
    server: PriceServer, settings: Settings, folder: Folder
) -> None:
    """Without the service, a coordinator that starts again has the prices of both kinds."""
    tariff = PublishedTariff(folder, settings, START)
    list(tariff.tell(0))
    both = tariff.prices.common[:72].copy(), tariff.prices.common_paid[:72].copy()
    server.faults = [status(503)] * 99
    again = PublishedTariff(folder, settings, START)
    list(again.tell(1))
    assert again.prices.common[:72].tolist() == both[0].tolist()
    assert again.prices.common_paid[:72].tolist() == both[1].tolist()


def test_one_question_at_a_time() -> None:
    """A source that fails in an unforeseen way is an error that is told, and asked again later."""

    class Broken:
        name = "broken"
        asked = 0

        def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
            self.asked += 1
            raise ZeroDivisionError("oh")

        def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
            return None

    source = Broken()
    asking = Asking(source, patience_s=2, again_s=0)
    for count in (1, 2):
        with pytest.raises(InputError, match="ZeroDivisionError: oh"):
            asking.answer(START, START + STEP, wait=True, needed=True)
        assert source.asked == count
    assert asking.answer(START, START + STEP, wait=False, needed=False) is None
    assert source.asked == 2
