"""Runs without an end: the same market and bills; a household keeps a few weeks in mind."""

import json
import sqlite3
from pathlib import Path

import pytest
import yaml
from flwr.app import Message

from common.cadence import ENDLESS
from common.config import load
from common.data.source import lasting
from common.data.synthetic import names
from common.errors import InputError
from fl_client import window
from fl_server.host.members import admit, leave, read_members
from fl_server.host.setup import end_run
from fl_server.ledger import COMMUNITY, Kind
from simulations.simulate import simulate
from tests.support.community import NODE, Homes, community, contexts, run
from tests.support.live import MARKET_ONLY, NAMES, meters, opened, rows, settled, traded
from tests.support.runs import small, write_homes

DAYS = 5


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three homes with nine days of history and five to live through."""
    folder = tmp_path_factory.mktemp("lived")
    write_homes(folder, names(3), DAYS)
    return folder


def _live(root: Path, homes: Path, intervals: int, *override: str) -> Path:
    """A deployment that the operator ends after so many intervals, if it does not by itself."""
    root.mkdir()
    folder = community(root / "server", homes, NAMES, *MARKET_ONLY, *override, hour=8)
    about = yaml.safe_load(folder.server_file.read_text())
    folder.server_file.write_text(yaml.safe_dump(about | {"ends": False}))

    def watch(message: Message) -> bool:
        if message.metadata.group_id.startswith(f"{intervals - 1}-") and folder.settings().endless:
            end_run(folder.root)
        return False

    run(folder, Homes(contexts(root, homes, NAMES, folder), watch))
    return folder.run


@pytest.mark.parametrize(("hours", "kind"), [(7, "bid-curve"), (54, "greedy")])
def test_without_an_end_the_same_is_booked(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int, kind: str
) -> None:
    """The ledger of a run without end, ended after some hours, is row by row that of a run of so
    many, also where households begin anew from their files in between, with a window of a day
    behind them and one ahead; all that they would read of the run is in it."""
    monkeypatch.setattr(window, "LOOK_BACK_DAYS", 1)
    monkeypatch.setattr(window, "AHEAD_DAYS", 1)
    same = (f"trader.kind={kind}", "run.interval_minutes=60")
    short = _live(tmp_path / "short", lived, hours, f"run.days={hours / 24}", *same)
    endless = _live(tmp_path / "endless", lived, hours, "run.days=null", *same)
    mine, theirs = rows(endless), rows(short)
    assert mine == theirs
    assert traded(endless) or kind == "greedy"
    assert settled(endless, 3) == {(t, h): 1 for t in range(hours) for h in range(3)}
    for name in NAMES:
        books = []
        for place in ("short", "endless"):
            with sqlite3.connect(tmp_path / place / name / "state" / "household.sqlite") as db:
                books.append(db.execute("SELECT t, time, cost, soc FROM intervals").fetchall())
        assert books[0] == books[1]


def test_members_come_and_go(lived: Path, tmp_path: Path) -> None:
    """Who is admitted while the run goes on is in from the next interval on, and begins its own
    books there; who leaves trades no more from the next interval on, its last reading is asked for
    and settled once, and nothing is booked for it later; who stays notices nothing."""
    folder = community(
        tmp_path / "server", lived, NAMES[:2], *MARKET_ONLY, "run.interval_minutes=60",
        "run.days=null", hour=8,
    )  # fmt: skip
    nodes = contexts(tmp_path, lived, NAMES, folder)
    came, went, end = 3, 5, 8

    def watch(message: Message) -> bool:
        t, _, _ = message.metadata.group_id.partition("-")
        done = {one.name: one for one in read_members(folder.members)}
        if t == str(came - 1) and NAMES[2] not in done:
            admit(folder.members, NAMES[2], NODE + 2, "key")
        if t == str(went - 1) and not done[NAMES[0]].leaving:
            leave(folder.members, NAMES[0])
        if t == str(end - 1):
            end_run(folder.root)
        return False

    run(folder, Homes(nodes, watch))
    who = {0: range(went), 1: range(end), 2: range(came, end)}
    with opened(folder.run) as ledger:
        booked = {
            (row.interval, row.account - len(COMMUNITY))
            for row in ledger.rows()
            if row.kind in (Kind.SETTLEMENT, Kind.FILLS) and row.account >= len(COMMUNITY)
        }
        assert ledger.verify().ok
        assert sum(money for _, money in ledger.balances().values()) == 0
    assert booked <= {(t, h) for h, intervals in who.items() for t in intervals}
    assert {h for _, h in booked} == {0, 1, 2}
    for h, name in enumerate(NAMES):
        with sqlite3.connect(tmp_path / name / "state" / "household.sqlite") as db:
            books = db.execute("SELECT t, settled FROM intervals ORDER BY t").fetchall()
        assert [t for t, _ in books] == list(who[h]), name
        assert all(done for _, done in books), name
        energy = sum(
            i - e + b - s for b, s, i, e in meters(tmp_path, name)
        )  # the household's own books
        with opened(folder.run) as ledger:
            assert ledger.balances()[name][0] / 1e6 == pytest.approx(energy, abs=1e-5)
    standing = json.loads(folder.status.read_text())["households"]
    assert [standing[name]["member"] for name in NAMES] == ["left", "in", "in"]


def test_a_simulation_without_a_number_of_days_runs_over_its_data(
    lived: Path, tmp_path: Path
) -> None:
    """``run.days: null`` is the run of all days that every home has after its history: the same
    name, ledger and summary; homes that are generated have no last day, and are refused."""
    whole = small(lived, f"run.days={DAYS}", "fl.enabled=false")
    open_ended = small(lived, "run.days=null", "fl.enabled=false")
    assert open_ended.endless
    assert open_ended.intervals == ENDLESS
    assert lasting(open_ended) == whole
    for place, settings in (("open", open_ended), ("whole", whole)):
        (tmp_path / place).mkdir()
        simulate(settings, tmp_path / place)
    assert rows(tmp_path / "open") == rows(tmp_path / "whole")
    assert load(str(tmp_path / "open" / "config.yaml"), ()).run.days == DAYS
    with pytest.raises(InputError, match="no last day"):
        lasting(load(None, ["data.source=synthetic", "run.days=null"]))


def test_only_a_run_without_end_is_ended(lived: Path, tmp_path: Path) -> None:
    """A run of so many days ends by itself, and is not ended; nor is one that has not begun."""
    folder = community(tmp_path / "server", lived, NAMES, *MARKET_ONLY)
    with pytest.raises(InputError, match="ends by itself"):
        end_run(folder.root)
    folder = community(tmp_path / "other", lived, NAMES, *MARKET_ONLY, "run.days=null")
    folder.live.unlink()
    with pytest.raises(InputError, match="no run has begun"):
        end_run(folder.root)
