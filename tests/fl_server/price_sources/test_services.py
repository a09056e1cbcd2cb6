"""Price services: their answers, days of 23 and 25 hours, gaps, faults; against a local server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.config import Tariff, load
from common.errors import InputError
from fl_server.price_sources import open_prices
from fl_server.price_sources.entsoe import KEY
from fl_server.price_sources.pieces import PriceSource
from fl_server.price_sources.web import AUTHORIZATION
from tests.support.price_server import PriceServer, euro_mwh, pence, price_server, slow, status

STEP = pd.Timedelta(minutes=30)
SPRING, AUTUMN = (
    pd.Timestamp("2026-03-29", tz="Europe/Vienna"),
    pd.Timestamp("2026-10-25", tz="Europe/Vienna"),
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PriceServer]:
    with price_server() as one:
        monkeypatch.setenv(KEY, "token")
        monkeypatch.setattr("entsoe.entsoe.URL", f"{one.url}/api")
        yield one


def options(server: PriceServer, kind: str) -> dict[str, object]:
    """Options of each service, quick to give up."""
    own: dict[str, dict[str, object]] = {
        "octopus": {"url": server.url, "product": "AGILE-24-10-01", "region": "C",
                    "outgoing": "AGILE-OUTGOING-19-05-13"},
        "energy-charts": {"url": server.url, "zone": "AT"},
        "entsoe": {"zone": "AT"},
        "json": {"url": f"{server.url}/rows?from={{first_day}}&to={{last_day}}",
                 "rows": "data.list",
                 "time": "at", "price": "buy.cents", "export": "sell", "unit": "cents/kwh",
                 "timezone": "Europe/Vienna"},
    }  # fmt: skip
    return {**own[kind], "timeout_s": 2, "tries": 2, "pause_s": 0.01}


def opened(server: PriceServer, kind: str, cache: Path, **more: object) -> PriceSource:
    tariff = Tariff.model_validate(
        {"source": kind, "source_options": {**options(server, kind), **more}}
    )
    source = open_prices(tariff, cache)
    assert source is not None
    return source


def expected(kind: str, start: pd.Timestamp, count: int) -> list[float]:
    """The server's prices by half hour."""
    made = []
    for t in range(count):
        moment = start.tz_convert("UTC") + t * STEP
        if kind == "octopus":
            made.append(pence(moment) / 100)
        elif kind == "json":
            made.append(euro_mwh(moment.floor("h")) / 1000)
        else:
            quarters = [euro_mwh(moment + pd.Timedelta(minutes=m)) for m in (0, 15)]
            made.append(sum(quarters) / 2000)
    return made


KINDS = ("octopus", "energy-charts", "entsoe", "json")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_every_service_on_days_of_23_and_25_hours(
    server: PriceServer, kind: str, day: pd.Timestamp, hours: int, tmp_path: Path
) -> None:
    """Every half hour of the local day has its own price, signs as published: halves of an hour
    share one, quarters are averaged, and the hour that comes twice has both of its prices."""
    end = day + pd.DateOffset(days=1)
    assert (end - day) == pd.Timedelta(hours=hours)
    found = opened(server, kind, tmp_path).imported(day.tz_convert("UTC"), end.tz_convert("UTC"))
    prices = found.on_grid(day, STEP, 2 * hours)
    assert prices == pytest.approx(expected(kind, day, 2 * hours), abs=1e-12)
    assert (prices < 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_gap_stays_a_gap(server: PriceServer, kind: str, tmp_path: Path) -> None:
    """Where a service leaves hours out no price is made up, and the day is not kept."""
    day = pd.Timestamp("2026-05-04", tz="UTC")
    hole = pd.date_range(day + pd.Timedelta(hours=9), periods=8, freq="15min")
    server.missing = set(hole)
    source = opened(server, kind, tmp_path)
    prices = source.imported(day, day + pd.Timedelta(days=1)).on_grid(day, STEP, 48)
    assert np.flatnonzero(np.isnan(prices)).tolist() == [18, 19, 20, 21]
    server.missing = set()
    again = source.imported(day, day + pd.Timedelta(days=1)).on_grid(day, STEP, 48)
    assert not np.isnan(again).any()


@pytest.mark.parametrize("kind", KINDS)
def test_whole_days_are_kept(server: PriceServer, kind: str, tmp_path: Path) -> None:
    """A complete day is asked for once and there without the service; tomorrow, not published
    yet, is asked for again, and comes when it comes."""
    day = pd.Timestamp("2026-05-04", tz="UTC")
    server.until = day + pd.Timedelta(days=1, hours=6)
    last = day + pd.Timedelta(days=2)
    source = opened(server, kind, tmp_path)
    first = source.imported(day, last).on_grid(day, STEP, 96)
    assert np.isnan(first).nonzero()[0].tolist() == list(range(60, 96))
    asked = len(server.asked)
    assert not np.isnan(
        source.imported(day, day + pd.Timedelta(days=1)).on_grid(day, STEP, 48)
    ).any()
    assert len(server.asked) == asked
    server.until = last
    assert not np.isnan(
        opened(server, kind, tmp_path).imported(day, last).on_grid(day, STEP, 96)
    ).any()
    assert len(server.asked) > asked
    server.faults = [status(503)] * 20
    kept = opened(server, kind, tmp_path).imported(day, last).on_grid(day, STEP, 96)
    assert kept == pytest.approx(expected(kind, day, 96), abs=1e-12)
    for file in tmp_path.rglob("*.json"):
        file.write_text("{")
    with pytest.raises(InputError, match="prices of"):
        source.imported(day, last)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [status(500), status(503), status(404), status(401), slow(3.0), status(200, b"<html>"),
     status(200, b"[]"), status(200, b'{"results": [{}], "price": 3, "data": {"list": 4}}'),
     status(200, b"")],
)  # fmt: skip
def test_faults_are_one_line(server: PriceServer, kind: str, fault: object, tmp_path: Path) -> None:
    """Statuses, no answer in time, answers that are none: one line that names the service and not
    its key; what passes by the next try is never seen."""
    day = pd.Timestamp("2026-05-04", tz="UTC")
    server.faults = [fault] * 8  # type: ignore[list-item]
    source = opened(server, kind, tmp_path, timeout_s=1)
    with pytest.raises(InputError) as caught:
        source.imported(day, day + pd.Timedelta(days=1))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("prices of")
    assert "token" not in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_that_passes_is_not_seen(server: PriceServer, kind: str, tmp_path: Path) -> None:
    """One busy answer, then the prices."""
    day = pd.Timestamp("2026-05-04", tz="UTC")
    server.faults = [status(503)]
    found = opened(server, kind, tmp_path).imported(day, day + pd.Timedelta(days=1))
    assert found.on_grid(day, STEP, 48) == pytest.approx(expected(kind, day, 48), abs=1e-12)


def test_export_prices(server: PriceServer, tmp_path: Path) -> None:
    """Octopus Outgoing and a mapping's export column; the others know none."""
    day = pd.Timestamp("2026-05-04", tz="UTC")
    last = day + pd.Timedelta(days=1)
    paid = opened(server, "octopus", tmp_path).exported(day, last)
    assert paid is not None
    wanted = [(pence(day + t * STEP) - 9) / 100 for t in range(48)]
    assert paid.on_grid(day, STEP, 48) == pytest.approx(wanted, abs=1e-12)
    mapped = opened(server, "json", tmp_path).exported(day, last)
    assert mapped is not None
    assert mapped.on_grid(day, STEP, 48) == pytest.approx([0.045] * 48)
    assert opened(server, "entsoe", tmp_path).exported(day, last) is None
    assert opened(server, "energy-charts", tmp_path).exported(day, last) is None


def test_vat_included_or_not(server: PriceServer, tmp_path: Path) -> None:
    """Octopus tells both; excluded, the tariff's own VAT makes the same price."""
    day = pd.Timestamp("2026-05-04", tz="UTC")
    last = day + pd.Timedelta(days=1)
    gross = opened(server, "octopus", tmp_path, vat="included").imported(day, last)
    net = opened(server, "octopus", tmp_path).imported(day, last)
    charges = Tariff(vat=0.05).charges
    assert charges.all_in(net.price) == pytest.approx(gross.price, abs=1e-12)


def test_a_key_goes_as_a_header(
    server: PriceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's authorization is sent with each question, and stands in no setting."""
    monkeypatch.setenv(AUTHORIZATION, "Bearer abc")
    day = pd.Timestamp("2026-05-04", tz="UTC")
    opened(server, "json", tmp_path).imported(day, day + pd.Timedelta(days=1))
    assert server.headers["Authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    ("source", "given", "why"),
    [
        ("octopus", {"region": "C"}, "source_options.product is missing"),
        ("octopus", {"product": "A", "region": "C", "vat": "half"}, "excluded or included"),
        ("energy-charts", {}, "source_options.zone is missing"),
        ("energy-charts", {"zone": "AT", "zones": "DE"}, "source_options.zones"),
        ("entsoe", {"zone": "Mars"}, "no zone of ENTSO-E"),
        ("json", {"url": "http://x", "unit": "pounds"}, "expected kwh, mwh"),
        ("json", {"url": "http://x", "timezone": "Mars"}, "no such time zone"),
        ("json", {"url": "http://x", "timeout_s": 0}, "above zero"),
        ("file", {"path": "/nowhere.csv"}, "No such file"),
    ],
)
def test_options_that_make_no_sense(
    source: str, given: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing, mistyped and impossible options are named before anything is asked."""
    monkeypatch.setenv(KEY, "token")
    with pytest.raises(InputError, match=why):
        open_prices(Tariff.model_validate({"source": source, "source_options": given}))


def test_options_belong_to_a_source() -> None:
    """Where prices are flat or of the data options are refused; a home of its own source does not
    inherit those of another."""
    with pytest.raises(InputError, match="flat prices have none"):
        load(None, ["tariff.source=flat", "tariff.source_options={path: x}"])
    settings = load(
        None,
        ["tariff.source=energy-charts", "tariff.source_options={zone: AT}",
         "homes.Ada.tariff.source=flat"],
    )  # fmt: skip
    assert settings.home("Ada").tariff.source_options == {}
    assert settings.home("Bob").tariff.source_options == {"zone": "AT"}


def test_entsoe_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where the key is to stand."""
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(InputError, match=KEY):
        open_prices(load(None, ["tariff.source=entsoe", "tariff.source_options={zone: AT}"]).tariff)
