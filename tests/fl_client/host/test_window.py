"""The page of the house, of a run that was really run, as the people of the house see it."""

import json
import math
import re
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from common.errors import InputError
from fl_client.home.clock import HouseClock, read_clock
from fl_client.home.mapping import MAPPING, read_mapping
from fl_client.home.store import OWN, STORE, Reading, Store
from fl_client.host.books import Interval, opened
from fl_client.host.client_file import ClientFile
from fl_client.host.house_figures import figures
from fl_client.host.house_page import draw
from fl_client.host.house_view import look
from fl_client.host.own_bill import own_bill
from fl_client.host.window import serve
from fl_client.state import QUANTITIES
from fl_server.host.folder import Folder
from fl_server.statement import statement
from tests.support.community import Homes, community, contexts, run
from tests.support.live import INTERVALS, NAMES, SHORT, never
from tests.support.live import opened as ledger_of

WALL = HouseClock()
TARIFF = (
    "tariff.markup=0.015", "tariff.network_fee=0.04", "tariff.levies=0.02", "tariff.vat=0.2",
    "tariff.standing_charge_per_day=0.35", "tariff.local.network_share=0.3",
    "tariff.local.levies=0.001", "tariff.local.vat=0.1",
)  # fmt: skip


def member(home: Path, name: str) -> None:
    """Make a folder one of a household, as far as its page is concerned."""
    home.mkdir(exist_ok=True)
    file = asdict(ClientFile(name, "synthetic", "127.0.0.1:9092", page_port=9481))
    (home / "client.yaml").write_text(yaml.safe_dump(file))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, homes: Path) -> Folder:
    """A finished run of half a day with two model rounds; its households' folders beside it."""
    root = tmp_path_factory.mktemp("window")
    made = community(root / "server", homes, NAMES, *SHORT, *TARIFF, "model.preset=slot-small")
    run(made, Homes(contexts(root, homes, NAMES, made), never))
    for name in NAMES:
        member(root / name, name)
    return made


@pytest.fixture(scope="module")
def home(server: Folder) -> Path:
    """The folder of the household that has traded most."""

    def traded(home: Path) -> float:
        with opened(home) as books:
            assert books is not None
            return sum(books.traded())

    return max((server.root.parent / name for name in NAMES), key=traded)


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    served = serve(home, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def copied(home: Path, file: Path) -> None:
    """The records as they are now: some of them may be beside the file still."""
    with sqlite3.connect(home / "state" / "household.sqlite") as db:
        db.execute("VACUUM INTO ?", (str(file),))


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as reply:
        text: str = reply.read().decode()
        return text


def test_the_bill_is_the_coordinators(server: Folder) -> None:
    """Line by line, kWh and money: two sets of books of one market, to the rounding of each
    interval; and the lines sum to what the household's own books owe."""
    with ledger_of(server.run) as ledger:
        for name in NAMES:
            theirs = statement(ledger, "run-1", name, by="total").of("total")
            with opened(server.root.parent / name) as books:
                assert books is not None
                ours = own_bill(books.intervals(0), books.fills(0), books.tariff())
            found = {line.name: line for line in ours.lines}
            for line, key in (
                ("From the grid", "energy"),
                ("Supplier's markup", "markup"),
                ("Network fee", "network_fee"),
                ("Levies", "levies"),
                ("From neighbours", "local_energy"),
                ("Network fee on it", "local_network_fee"),
                ("Levies on it", "local_levies"),
                ("To neighbours", "local_sales"),
                ("To the grid", "feed_in"),
            ):
                booked = theirs.loc[key] if key in theirs.index else None
                mine = found.get(line)
                kwh = 0.0 if mine is None or mine.kwh is None else mine.kwh
                amount = 0.0 if mine is None else mine.amount
                if mine is not None and booked is not None:
                    assert kwh == pytest.approx(booked["quantity"], abs=2e-6 * INTERVALS)
                expected = 0.0 if booked is None else booked["amount"]
                assert amount == pytest.approx(expected, abs=1e-6 * INTERVALS)
            tax = [found[line].amount for line in ("VAT", "VAT on these") if line in found]
            booked_tax = theirs["amount"].reindex(["vat", "local_vat"]).sum()
            assert sum(tax) == pytest.approx(booked_tax, abs=2e-6 * INTERVALS)
            assert ours.intervals == INTERVALS
            assert ours.total == pytest.approx(sum(line.amount for line in ours.lines), abs=1e-9)
            assert ours.total == pytest.approx(theirs["amount"]["total"], abs=1e-5)


def test_a_day_costs_its_standing_charge_when_it_begins() -> None:
    """Once for each local midnight that was lived through, with the VAT on it."""
    half_hour = timedelta(minutes=30)
    begins = datetime(2026, 3, 1, 22, tzinfo=UTC).astimezone()
    nothing = dict.fromkeys(QUANTITIES, 0.0)
    lived = [Interval(t, begins + t * half_hour, half_hour, True, nothing) for t in range(56)]
    midnights = sum((one.begins.hour, one.begins.minute) == (0, 0) for one in lived)
    assert midnights >= 1
    billed = own_bill(lived, {}, {"standing_charge": 0.35, "vat": 0.2})
    found = {line.name: line.amount for line in billed.lines}
    assert found["Standing charge"] == pytest.approx(0.35 * midnights)
    assert found["VAT"] == pytest.approx(0.07 * midnights)
    assert billed.total == pytest.approx(0.42 * midnights)


def test_what_the_model_earned_is_two_lives_apart(server: Folder) -> None:
    """The cost without it less the cost with it, of all that is settled; before the first model
    came both lives are one, to the last bit."""
    for name in NAMES:
        home = server.root.parent / name
        with opened(home) as books:
            assert books is not None
            lived, came = books.intervals(0), books.models()[0][1]
        shadow = [(one["shadow_soc"], one["shadow_cost"]) for one in lived]
        unaided = [(one["unaided_soc"], one["unaided_cost"]) for one in lived]
        assert shadow[: came + 1] == unaided[: came + 1]
        assert np.isfinite(unaided).all()
        earned = math.fsum(one["unaided_cost"] - one["shadow_cost"] for one in lived)
        assert look(home, name, WALL).earned == pytest.approx(earned, abs=1e-9)


def test_page_shows_trades_bill_and_model(url: str, home: Path) -> None:
    """What the books hold stands there: today's trades with their prices, the sum, the rounds."""
    text = get(url)
    with opened(home) as books:
        assert books is not None
        fills, models = books.fills(0), len(books.models())
        total = own_bill(books.intervals(0), fills, books.tariff()).total
        for t, fill in fills.items():
            if fill.bought_kwh:
                row = f"<tr><td>{books.begins(t):%H:%M}</td><td>{fill.bought_kwh:.2f} kWh</td>"
                assert f"{row}<td>{fill.paid / fill.bought_kwh:.3f}</td>" in text
    assert any(fill.bought_kwh or fill.sold_kwh for fill in fills.values())
    assert re.search(rf'<tr class="sum"><td>Owed</td>.*<td>{re.escape(f"{total:.2f}")}</td>', text)
    assert f"Versions of it received: {models}, the newest on" in text
    assert models >= 2
    assert text.count("<rect") == sum(1 for one in look(home, home.name, WALL).today if one.settled)


def test_page_asks_nobody_else_and_writes_nothing(url: str, home: Path) -> None:
    """No address in it but its own style; the household's records are what they were."""
    before = {p: p.stat().st_mtime_ns for p in (home / "state").glob("*.sqlite")}
    text = get(url)
    assert "://" not in text
    assert "<script" not in text
    json.loads(get(f"{url}/status.json"))
    assert {p: p.stat().st_mtime_ns for p in (home / "state").glob("*.sqlite")} == before


def test_figures_are_the_books(home: Path) -> None:
    """Energy from and to neighbours is all that was ever told to have been traded; nothing that is
    not known is a number."""
    found = figures(look(home, home.name, WALL))
    with opened(home) as books:
        assert books is not None
        fills = books.fills(0).values()
    assert found["from_neighbours_kwh"] == pytest.approx(sum(fill.bought_kwh for fill in fills))
    assert found["to_neighbours_kwh"] == pytest.approx(sum(fill.sold_kwh for fill in fills))
    assert found["import_kw"] is None
    json.dumps(found, allow_nan=False)


@pytest.fixture
def metered(tmp_path: Path) -> Path:
    """A household whose meters speak, and which has not traded yet."""
    member(tmp_path, "maple")
    roles = ("import", "export", "pv", "soc")
    meters = [{"role": role, "topic": f"house/{role}", "time": "time"} for role in roles]
    (tmp_path / MAPPING).write_text(yaml.safe_dump(meters))
    return tmp_path


def test_readings_now_are_what_registers_counted(metered: Path) -> None:
    """Power is the energy of the last minute or more over its time; use is the balance of all: with
    1.2 kW from the sun and 0.3 kW to the grid, 0.9 kW are used."""
    now = time.time()
    store = Store(metered / STORE, write=True)
    for one in read_mapping(metered / MAPPING):
        kw = {"import": 0.0, "export": 0.3, "pv": 1.2}.get(one.role)
        store.put(
            Reading(
                one.name, now - ago, now - ago, 0.42 if kw is None else 7 - kw * ago / 3600, OWN
            )
            for ago in range(300, 0, -10)
        )
    store.doubt(one.name, now, "left out: 'x' is no number")
    store.close()
    view = look(metered, "maple", WALL)
    assert view.kw("export") == pytest.approx(0.3)
    assert view.kw("pv") == pytest.approx(1.2)
    text = draw(view)
    for shown, what in (
        ("0.90 kW", "used in the house"),
        ("0.30 kW", "to the grid"),
        ("42%", "in the battery"),
    ):
        assert f"<b>{shown}</b><span>{what}</span>" in text
    assert "left out: &#39;x&#39; is no number" in text
    assert "No run has been joined yet" in text


def test_a_meter_that_fell_silent_is_said_to_be(metered: Path) -> None:
    """Its last power is not shown as if it were now; one that never spoke is named too."""
    now = time.time()
    store = Store(metered / STORE, write=True)
    said = read_mapping(metered / MAPPING)[0]
    store.put([Reading(said.name, now - ago, now, 5.0, OWN) for ago in (4000, 3990, 3900)])
    store.close()
    text = draw(look(metered, "maple", WALL))
    assert "import: silent for 65 min" in text
    assert "pv: has said nothing yet" in text
    assert "from the grid" not in text


def test_a_page_of_what_is_broken_says_so(home: Path, tmp_path: Path) -> None:
    """An empty file, one that is no database, one of an older release: one line, not a crash."""
    member(tmp_path / "b", "b")
    state = tmp_path / "b" / "state"
    state.mkdir()
    file = state / "household.sqlite"
    file.touch()
    for broken in (b"", b"no database" * 1000):
        file.write_bytes(broken)
        with pytest.raises(InputError, match=r"household\.sqlite"):
            look(tmp_path / "b", "b", WALL)
    file.unlink()
    copied(home, file)
    with sqlite3.connect(file) as db:
        db.execute("ALTER TABLE intervals DROP COLUMN shadow_cost")
    with pytest.raises(InputError, match="shadow_cost"):
        look(tmp_path / "b", "b", WALL)


@pytest.mark.parametrize("minutes", [15, 60])
def test_other_intervals_keep_the_forecasts_energy(
    home: Path, tmp_path: Path, minutes: int
) -> None:
    """A run of quarter hours or hours: its length is read off the records, a day's forecast is the
    same energy in as many parts, and the page says until when the plan is."""
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "household.sqlite"
    copied(home, file)
    half_hours = np.linspace(0.1, 1.0, 48).astype("<f4")
    with sqlite3.connect(file) as db:
        start = datetime.fromisoformat(
            db.execute("SELECT value FROM about WHERE key = 'start'").fetchone()[0]
        )
        for t in range(INTERVALS):
            time_of = (start + timedelta(minutes=minutes) * t).isoformat()
            db.execute("UPDATE intervals SET time = ? WHERE t = ?", (time_of, t))
        db.execute("DELETE FROM forecasts")
        db.execute(
            "INSERT INTO forecasts VALUES (0, 'consumption_day', ?)", (half_hours.tobytes(),)
        )
    view = look(tmp_path, "maple", WALL)
    assert view.step == timedelta(minutes=minutes)
    assert len(view.forecast) == 24 * 60 / minutes
    assert sum(view.forecast.values()) == pytest.approx(float(half_hours.sum()))
    assert view.present is not None
    assert f"to {view.present.begins + view.step:%H:%M}, and why" in draw(view)


def test_a_look_costs_no_more_late_in_a_year(home: Path, tmp_path: Path) -> None:
    """After 17,520 half hours, at the end of a month: under 150 ms of the process's own time, the
    median of nine. It reads the month, and the weeks that forecasts are compared over."""
    year = 365 * 48
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "household.sqlite"
    copied(home, file)
    with sqlite3.connect(file) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(intervals)")]
        last = db.execute("SELECT * FROM intervals ORDER BY t DESC").fetchone()
        row = dict(zip(names, last, strict=True)) | {"settled": 1}
        start, half_hour = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=30)
        ahead = db.execute('SELECT "values" FROM forecasts').fetchone() or (b"\0" * 192,)
        for t in range(year):
            db.execute(
                f"INSERT OR REPLACE INTO intervals VALUES ({', '.join('?' * len(names))})",
                list((row | {"t": t, "time": (start + t * half_hour).isoformat()}).values()),
            )
            db.execute("INSERT OR REPLACE INTO announced VALUES (?, 1, 0, 1, 0)", (t,))
            if t % 48 == 0:
                db.execute(
                    "INSERT OR REPLACE INTO forecasts VALUES (?, 'consumption_day', ?)",
                    (t, ahead[0]),
                )
    took = []
    for _ in range(9):
        begin = time.process_time()
        text = draw(look(tmp_path, "maple", WALL))
        took.append(time.process_time() - begin)
    assert "over 28 days" in text or "over 27 days" in text
    assert sorted(took)[4] < 0.15


def test_a_clock_for_rehearsals(tmp_path: Path) -> None:
    """``clock.yaml`` makes the household live in another time, faster; nonsense is refused."""
    assert read_clock(tmp_path) == HouseClock()
    file = tmp_path / "clock.yaml"
    file.write_text("{at: 1000.0, anchor: 500, speed: 60}")
    assert read_clock(tmp_path) == HouseClock(1000.0, 500.0, 60.0)
    for wrong in ("{at: 1, anchor: 2}", "[]", "{at: 1, anchor: x, speed: 1}",
                  "{at: 1, anchor: 2, speed: 0}"):  # fmt: skip
        file.write_text(wrong)
        with pytest.raises(InputError, match=r"clock\.yaml"):
            read_clock(tmp_path)


def test_half_hours_are_those_of_the_local_day(home: Path) -> None:
    """Today begins at the first half hour of the run's local day, none of the day before is in."""
    view = look(home, home.name, WALL)
    assert view.present is not None
    assert {one.begins.date() for one in view.today} == {view.present.begins.date()}
    assert view.today[-1].begins - view.today[0].begins == timedelta(minutes=30) * (
        len(view.today) - 1
    )
