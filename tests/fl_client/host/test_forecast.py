"""A deployed household's outlook: by its newest model, and by nothing that came after it decided.

Two homes of one community, in it for a day and an eighth: the readings of one arrive in its store,
the other replays its file.
"""

import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from flwr.app import Message
from typer.testing import CliRunner

from common.data.frame import APPLIANCES
from common.data.store import read_household, write_household
from common.errors import InputError
from fl_client.home.clock import HouseClock
from fl_client.home.store import Store
from fl_client.host.client_file import ClientFile
from fl_client.host.commands import app
from fl_client.host.forecast import HomeOutlook, home_outlook
from fl_client.host.house_figures import figures as figures_of
from fl_client.host.house_page import draw
from fl_client.host.house_view import look
from simulations.cli import app as fedwatt
from tests.support.arriving import Meters
from tests.support.commands import refused
from tests.support.community import NODE, Homes, community, contexts, run
from tests.support.live import SHORT

METERED, REPLAYED = "H0001", "H0003"
BOTH = [METERED, REPLAYED]
LEARNING = ("model.preset=slot-small", "fl.every_hours=12", "tariff.vat=0.2", "tariff.markup=0.01")


def lived(root: Path, homes: Path, names: list[str], intervals: int, past_h: float | None) -> int:
    """Let homes live through ``intervals`` half hours; returns the time [s] when they began.

    ``past_h``: so many hours before the run are all that the meters' stores know, None: all days.
    """
    settings = (*SHORT, *LEARNING, f"run.days={intervals / 48}")
    made = community(root / "server", homes, names, *settings)
    start = pd.Timestamp(yaml.safe_load(made.live.read_text())["start"])
    meters = Meters(root, homes, start, lambda name, s: 0, intervals, [METERED])
    if past_h is not None:
        with sqlite3.connect(root / METERED / "meters.sqlite") as db:
            db.execute("DELETE FROM intervals WHERE start < ?", (meters.start - past_h * 3600,))
    nodes = contexts(root, homes, names, made)
    nodes[NODE].node_config["data"] = "meters"

    def arrive(message: Message) -> bool:
        group = message.metadata.group_id.partition("-")[0]
        if group.isdigit() and message.metadata.dst_node_id == NODE:
            meters.tell(METERED, int(group))
        return False

    run(made, Homes(nodes, arrive))
    for name in names:
        data = str(nodes[NODE + names.index(name)].node_config["data"])
        file = asdict(ClientFile(name, data, "127.0.0.1:9092"))
        (root / name / "client.yaml").write_text(yaml.safe_dump(file))
    return meters.start


INTERVALS = 54


@pytest.fixture(scope="module")
def own_homes(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the homes' files: a test here writes into them."""
    folder = tmp_path_factory.mktemp("own")
    for name in BOTH:
        write_household(read_household(homes / f"{name}.parquet"), folder)
    return folder


@pytest.fixture(scope="module")
def began(own_homes: Path) -> int:
    """When the run of both began [s since 1970]; their folders are beside the files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/London")
        return lived(own_homes, own_homes, BOTH, INTERVALS, None)


@pytest.fixture(autouse=True)
def _london(monkeypatch: pytest.MonkeyPatch) -> None:
    """The homes' own computers are where the homes are."""
    monkeypatch.setenv("TZ", "Europe/London")


def figures(made: HomeOutlook) -> list[bytes]:
    """All that is forecast, to the last bit."""
    return [part.tobytes() for one in made.outlook.ahead for part in (one.consumption, one.price)]


def rows_of(file: Path) -> list[str]:
    """All that a database holds."""
    with closing(sqlite3.connect(file)) as db:
        return list(db.iterdump())


@pytest.mark.parametrize("name", BOTH)
def test_it_goes_on_after_what_the_last_decision_knew(
    own_homes: Path, began: int, name: str
) -> None:
    """Day, week and month from the newest interval decided on, whose reading nobody had then; at
    prices near those told in the run, though the meters' store knows of none."""
    found, bill = home_outlook(own_homes / name)
    assert found.begins == pd.Timestamp(began + (INTERVALS - 1) * 1800, unit="s", tz="UTC")
    assert [len(one.consumption) for one in found.ahead] == [48, 336, 1440]
    with sqlite3.connect(own_homes / name / "state" / "household.sqlite") as db:
        query = "SELECT min(retail), avg(retail), max(retail) FROM intervals"
        told = db.execute(query).fetchone()
    price = found.month.price
    assert (price.min(), price.mean(), price.max()) == pytest.approx(told, rel=0.1)
    assert told[2] > 2 * told[0]
    assert bill is not None
    assert bill.booked.intervals == INTERVALS
    of_may = datetime(2023, 6, 1).astimezone() - found.begins.to_pydatetime()
    assert bill.rest.intervals == of_may / timedelta(minutes=30) - 1


def test_the_rest_of_the_month_has_the_lines_of_a_bill(own_homes: Path, began: int) -> None:
    """They sum to what it says; VAT and markup are those of the tariff on what is drawn."""
    _, bill = home_outlook(own_homes / METERED)
    assert bill is not None
    lines = {line.name: line for line in bill.rest.lines}
    assert bill.rest.total == pytest.approx(sum(line.amount for line in lines.values()), abs=1e-9)
    drawn = lines["From the grid"].kwh
    assert drawn is not None
    assert drawn > 0
    assert lines["Supplier's markup"].amount == pytest.approx(0.01 * drawn)
    net = lines["From the grid"].amount + lines["Supplier's markup"].amount
    assert lines["VAT"].amount == pytest.approx(0.2 * net)
    assert lines["From neighbours"].kwh == lines["To neighbours"].kwh == 0.0


@pytest.mark.parametrize("name", BOTH)
def test_the_page_expects_the_month_by_what_came_with_the_model(
    own_homes: Path, began: int, name: str
) -> None:
    """What the newest model said of the month when it came is kept, and the page adds the rest of
    it to what is booked: line by line, in a tile, and among the figures."""
    view = look(own_homes / name, name, HouseClock())
    assert view.expected is not None
    assert view.expected.booked == view.bill_month
    with sqlite3.connect(own_homes / name / "state" / "household.sqlite") as db:
        [t, came] = db.execute(
            "SELECT a.t, m.t FROM month_ahead a, models m ORDER BY round DESC LIMIT 1"
        ).fetchone()
    assert t == came
    assert view.expected.rest.total > 0
    assert view.expected.rest.intervals > 960
    text, total = draw(view), view.expected.total
    assert f"<b>{total:.2f}</b><span>owed expected for the month</span>" in text
    assert "<h2>Bill expected for May</h2>" in text
    rest = {line.name: line.amount for line in view.expected.rest.lines}
    booked = {line.name: line.amount for line in view.bill_month.lines}
    tax = (booked["VAT"], rest["VAT"], booked["VAT"] + rest["VAT"])
    assert "<tr><td>VAT</td>" + "".join(f"<td>{one:.2f}</td>" for one in tax) in text
    assert figures_of(view)["bill_month_expected"] == total


def test_a_reading_that_comes_later_changes_nothing(own_homes: Path, began: int) -> None:
    """Neither new half hours nor another word on old ones: what was received after the last
    decision is not read. The same word received before it changes the forecast."""
    home = own_homes / METERED
    before = figures(home_outlook(home))
    end = began + INTERVALS * 1800
    over = [(began + 1800 * t, 3.0, "measured") for t in range(20, 30)]
    to_come = [(end + 1800 * t, 5.0, "measured") for t in range(96)]
    store = Store(home / "meters.sqlite", write=True)
    try:
        store.put_intervals("import", 30, to_come, end + 1800 * 97.0, "corrected")
        store.put_intervals("export", 30, to_come, end + 1800 * 97.0, "corrected")
        store.put_intervals("import", 30, over, end + 3600.0, "corrected")
        assert figures(home_outlook(home)) == before
        earlier = [(start, kwh + 1.0, kind) for start, kwh, kind in over]
        store.put_intervals("import", 30, earlier, end - 3600.0, "corrected")
        assert figures(home_outlook(home)) != before
    finally:
        store.close()
        with sqlite3.connect(home / "meters.sqlite") as db:
            db.execute("DELETE FROM intervals WHERE kind = 'corrected' OR start >= ?", (end,))


def test_what_a_file_holds_of_the_future_changes_nothing(own_homes: Path, began: int) -> None:
    """Noise from the forecast's first row on in the file that a home replays; noise before it does
    change it."""
    home, file = own_homes / REPLAYED, own_homes / f"{REPLAYED}.parquet"
    before = home_outlook(home)
    kept = read_household(file)
    appliance = next(iter(APPLIANCES))
    at = kept.frame.index.get_loc(before.outlook.begins.tz_convert("UTC"))
    assert isinstance(at, int)
    noise = np.random.default_rng(0).gamma(1.0, 5.0, len(kept.frame))
    try:
        for rows, same in ((slice(at, None), True), (slice(at - 48, at), False)):
            frame = kept.frame.copy()
            for column in (appliance, "price"):
                frame.iloc[rows, frame.columns.get_loc(column)] = noise[rows]
            write_household(replace(kept, frame=frame), own_homes)
            assert (figures(home_outlook(home)) == figures(before)) == same
    finally:
        write_household(kept, own_homes)


def test_looking_changes_nothing(own_homes: Path, began: int, tmp_path: Path) -> None:
    """Both commands say the same of a folder, and leave its records as they were."""
    home = own_homes / METERED
    records = [home / "state" / "household.sqlite", home / "meters.sqlite"]
    before = [rows_of(file) for file in records]
    picture = tmp_path / "outlook.png"
    said = []
    for program, words in ((app, ["forecast"]), (fedwatt, ["forecast"])):
        done = CliRunner().invoke(program, [*words, str(home), "--out", str(picture)])
        assert done.exit_code == 0, done.output
        said.append(done.output)
    assert said[0] == said[1]
    assert [line.split(":")[0].strip() for line in said[0].splitlines()[:4]] == [
        "day", "week", "month", "bill",
    ]  # fmt: skip
    assert picture.stat().st_size > 10_000
    assert [rows_of(file) for file in records] == before
    assert "--household" in refused(fedwatt, "forecast", str(home), "--household", METERED)


def test_a_home_of_a_few_hours_says_what_it_lacks(homes: Path, tmp_path: Path) -> None:
    """Three hours before the run and three in it are no day: the line says how much there is, and
    the page has no bill to expect."""
    lived(tmp_path, homes, [METERED], 6, 3.0)
    with pytest.raises(InputError, match=r"H0001: 5\.5 hours of readings, 3 of them from before"):
        home_outlook(tmp_path / METERED)
    with sqlite3.connect(tmp_path / METERED / "state" / "household.sqlite") as db:
        assert db.execute("SELECT count(*) FROM models").fetchone()[0] > 0
        assert db.execute("SELECT count(*) FROM month_ahead").fetchone()[0] == 0


def test_what_is_missing_is_said_with_what_to_do(
    own_homes: Path, began: int, tmp_path: Path
) -> None:
    """No run joined, no model received, records of an older release: one line each."""
    file = asdict(ClientFile("maple", "meters", "127.0.0.1:9092"))
    (tmp_path / "client.yaml").write_text(yaml.safe_dump(file))
    with pytest.raises(InputError, match=r"maple: has joined no run yet; fedwatt-client start"):
        home_outlook(tmp_path)
    (tmp_path / "state").mkdir()
    records = tmp_path / "state" / "household.sqlite"
    with sqlite3.connect(own_homes / METERED / "state" / "household.sqlite") as db:
        db.execute("VACUUM INTO ?", (str(records),))
    with sqlite3.connect(records) as db:
        db.execute("DELETE FROM run_config")
    with pytest.raises(InputError, match="maple: an older release"):
        home_outlook(tmp_path)
    with sqlite3.connect(records) as db:
        db.execute("DELETE FROM models")
    with pytest.raises(InputError, match="maple: no model has been received yet"):
        home_outlook(tmp_path)
