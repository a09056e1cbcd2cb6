"""What a live run has booked, and whether the households' own books agree."""

import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from flwr.app import Message

from fl_server.host.folder import Folder
from fl_server.ledger import COMMUNITY, ON_TIME, Kind, Ledger
from tests.support.runs import HISTORY_DAYS

NAMES = ["H0001", "H0002", "H0003"]


INTERVALS = 12


SHORT = (
    f"run.days={INTERVALS / 48}",
    f"run.history_days={HISTORY_DAYS}",
    "model.preset=edge",
    "fl.local_steps=1",
    "fl.every_hours=3",
)


MARKET_ONLY = (*SHORT, "fl.enabled=false")


def never(_: Message) -> bool:
    return False


def opened(directory: Path) -> Ledger:
    ledger = Ledger(f"sqlite:///{directory / 'ledger.sqlite'}")
    ledger.attach()
    return ledger


def rows(directory: Path) -> list[tuple[int, ...]]:
    """Postings of a run's ledger in order, hashes aside: a run's own name is part of them."""
    with opened(directory) as ledger:
        assert ledger.verify().ok
        return [tuple(row)[1:-1] for row in ledger.rows()]


def settled(directory: Path, households: int) -> Counter[tuple[int, int]]:
    """How often each (interval, household) was settled: on time with all, or late by itself."""
    times: Counter[tuple[int, int]] = Counter()
    on_time = {}
    with opened(directory) as ledger:
        assert ledger.verify().ok
        entries = {
            (row.interval, row.late_household)
            for row in ledger.rows()
            if row.kind == Kind.SETTLEMENT
        }
    for interval, late in entries:
        if late == ON_TIME:
            on_time[interval] = set(range(households))
        else:
            times[interval, late] += 1
    for interval, late in entries:
        on_time[interval].discard(late)
    times.update((interval, h) for interval, who in on_time.items() for h in who)
    return times


def traded(directory: Path) -> set[int]:
    """Intervals in which households traded with each other."""
    with opened(directory) as ledger:
        return {
            r.interval
            for r in ledger.rows()
            if r.kind == Kind.FILLS and r.account >= len(COMMUNITY)
        }


def exactly_once(directory: Path, households: int = len(NAMES)) -> None:
    assert settled(directory, households) == {
        (t, h): 1 for t in range(INTERVALS) for h in range(households)
    }


def meters(root: Path, name: str) -> list[tuple[float, ...]]:
    """What a household's own books say was bought, sold and exchanged with the grid."""
    with sqlite3.connect(root / name / "state" / "household.sqlite") as db:
        return db.execute(
            "SELECT bought, sold, grid_import, grid_export FROM intervals ORDER BY t"
        ).fetchall()


def agree(root: Path, folder: Folder) -> None:
    """The ledger and the households' own books tell of the same energy, to the mWh's rounding."""
    with opened(folder.run) as ledger:
        booked = ledger.balances()
    for name in NAMES:
        own = sum(b - s + i - e for b, s, i, e in meters(root, name)) * 1e6
        assert booked[name][0] == pytest.approx(own, abs=2 * INTERVALS)
    assert sum(money for _, money in booked.values()) == 0
    assert set(COMMUNITY) < set(booked)
