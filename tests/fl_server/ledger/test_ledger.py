"""The ledger: balances, idempotence, the chain, and the first row that is wrong."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from fl_server.bills import bill
from fl_server.ledger import Kind, Ledger, LedgerError
from fl_server.market import Fills
from fl_server.settlement import settle
from tests.support.booked import NAMES, START, ZONE, fills_of, settlement_of

INTERVALS = 12


def _play(ledger: Ledger, first: int = 0, last: int = INTERVALS) -> None:
    for t in range(first, last):
        ledger.record(t, fills_of(t), settlement_of(t - 1) if t else None)


def _rows(ledger: Ledger) -> list[tuple[object, ...]]:
    return [tuple(row) for row in ledger.rows()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{file}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START, timezone=ZONE)
        _play(ledger)
        ledger.record(INTERVALS, None, settlement_of(INTERVALS - 1))
        yield ledger


def test_a_run_verifies_and_every_account_adds_up(ledger: Ledger) -> None:
    """Over all accounts energy and money are zero; a household's energy is its meter's."""
    verdict = ledger.verify()
    assert verdict.error is None
    assert verdict.entries == 2 * INTERVALS
    balances = ledger.balances()
    assert sum(energy for energy, _ in balances.values()) == 0
    assert sum(money for _, money in balances.values()) == 0
    net = sum(
        np.random.default_rng(1_000 + t).integers(-2_000_000, 2_000_000, len(NAMES))
        for t in range(INTERVALS)
    )
    assert [balances[name][0] for name in NAMES] == list(net)


def test_the_same_run_writes_the_same_rows(ledger: Ledger, tmp_path: Path) -> None:
    """Hashes included."""
    with Ledger(f"sqlite:///{tmp_path / 'again.sqlite'}", durable=False) as again:
        again.open_run("r", NAMES, start=START, timezone=ZONE)
        _play(again)
        again.record(INTERVALS, None, settlement_of(INTERVALS - 1))
        assert _rows(again) == _rows(ledger)


def test_settling_twice_changes_nothing(ledger: Ledger) -> None:
    """The same figures are recognised, other figures refused."""
    before = _rows(ledger)
    assert not ledger.record(3, fills_of(3), settlement_of(2))
    with pytest.raises(LedgerError, match="settlement of interval 2: already booked with other"):
        ledger.record(3, fills_of(3), settlement_of(9))
    assert _rows(ledger) == before


def test_an_interval_costs_no_more_late_in_a_run(file: Path) -> None:
    """SQLite's own count of its steps: ten intervals after 190 take what ten after 10 took."""
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    with Ledger(f"sqlite:///{file}", durable=False) as ledger:
        with ledger._engine.connect() as db:
            # The pool hands the same connection to every later transaction.
            db.connection.dbapi_connection.set_progress_handler(count, 10)  # type: ignore[union-attr]
        ledger.open_run("r", NAMES, start=START, timezone=ZONE)
        spent = []
        for first, last in ((0, 10), (10, 20), (20, 190), (190, 200)):
            steps[0] = 0
            _play(ledger, first, last)
            spent.append(steps[0])
    assert spent[1] > 10
    assert spent[3] < 1.2 * spent[1]


def test_reopening_continues_the_chain(file: Path) -> None:
    """A run that was closed half way goes on as if it had not been."""
    for first, last in ((0, 5), (5, INTERVALS)):
        with Ledger(f"sqlite:///{file}") as ledger:
            ledger.open_run("r", NAMES, start=START)
            _play(ledger, first, last)
    with Ledger(f"sqlite:///{file}") as ledger:
        assert ledger.attach() == "r"
        assert ledger.verify().ok


@pytest.mark.parametrize("resume", [0, 1, 5, INTERVALS, INTERVALS + 1])
def test_truncating_and_playing_again_gives_the_same_rows(ledger: Ledger, resume: int) -> None:
    """Resuming from an older checkpoint: what came after it is cut, the chain goes on."""
    before = _rows(ledger)
    ledger.truncate_from(resume)
    assert ledger.verify().ok
    _play(ledger, resume)
    ledger.record(INTERVALS, None, settlement_of(INTERVALS - 1))
    assert _rows(ledger) == before


def test_a_late_reading_is_booked_with_the_next_interval(ledger: Ledger) -> None:
    """It is an entry of its own, balanced, cut by truncation with the interval it came in."""
    zero = np.zeros(len(NAMES), np.int64)
    reading = zero.copy()
    reading[2] = 500_000
    late = settle(reading, zero, Fills.none(len(NAMES)), 300_000, 50_000)
    before = _rows(ledger)
    t = INTERVALS + 1
    ledger.record_late(3, 2, late)
    ledger.record(t, fills_of(t), settlement_of(INTERVALS))
    assert ledger.verify().ok
    late_rows = [row for row in ledger.rows() if row.late_household == 2]
    assert [(row.interval, row.money_out_micro) for row in late_rows] == [(3, 0), (3, 150_000)]
    ledger.truncate_from(t)
    assert _rows(ledger) == before


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE ledger_postings SET money_in_micro = money_in_micro + 1 WHERE seq = 20", "row 20"),
        (
            "UPDATE ledger_postings SET energy_out_milliwh = energy_out_milliwh + 1 WHERE seq = 9",
            "row 9",
        ),
        ("UPDATE ledger_postings SET account = 5 WHERE seq = 14 AND account != 5", "row 14"),
        ("DELETE FROM ledger_postings WHERE seq = 30", "row 30 is missing"),
        ("DELETE FROM ledger_postings WHERE seq = 123", "row 123 is missing"),
        ("UPDATE ledger_postings SET hash = zeroblob(32) WHERE seq = 7", "row 7"),
        ("UPDATE ledger_accounts SET name = 'mine' WHERE account = 6", "row 0"),
    ],
)
def test_verification_names_the_first_wrong_row(
    ledger: Ledger, file: Path, change: str, found: str
) -> None:
    """Any figure, account, hash or row that was touched, and a cut tail."""
    with sqlite3.connect(file) as db:
        assert db.execute(change).rowcount == 1
    verdict = ledger.verify()
    assert verdict.error is not None
    assert found in verdict.error


def test_a_forged_chain_still_has_to_balance(ledger: Ledger, file: Path) -> None:
    """Whoever recomputes all hashes after changing a figure is caught by the sums."""
    from fl_server.audit import link  # the forger knows the algorithm

    with sqlite3.connect(file) as db:
        db.execute("UPDATE ledger_postings SET money_in_micro = money_in_micro + 5 WHERE seq = 20")
        rows = db.execute("SELECT * FROM ledger_postings ORDER BY seq").fetchall()
        before = rows[0][-1]
        for row in rows[1:]:
            before = link(before, np.array(row[1:-2], ">i8").tobytes())
            db.execute("UPDATE ledger_postings SET hash = ? WHERE seq = ?", (before, row[1]))
        db.execute("UPDATE ledger_runs SET head_hash = ?", (before,))
    error = ledger.verify().error
    assert error is not None
    assert "do not balance: money by 5 micro" in error


def test_another_community_cannot_continue_a_run(ledger: Ledger) -> None:
    """Other households or another start are not the same run."""
    for names, start in ((NAMES[:-1], START), (NAMES, "2017-01-01T00:00:00+00:00")):
        with pytest.raises(InputError, match="other households or another start"):
            ledger.open_run("r", names, start=start, timezone=ZONE)


def test_bad_places_are_named(tmp_path: Path) -> None:
    """A folder that does not exist, a file that is no database, a database without a ledger."""
    with pytest.raises(InputError, match="unable to open database file"):
        Ledger(f"sqlite:///{tmp_path / 'none' / 'ledger.sqlite'}")
    (tmp_path / "text").write_text("x" * 5_000)
    with pytest.raises(InputError, match="not a database"):
        Ledger(f"sqlite:///{tmp_path / 'text'}")
    sqlite3.connect(tmp_path / "empty").close()
    with pytest.raises(InputError, match="holds no ledger"):
        Ledger(f"sqlite:///{tmp_path / 'empty'}", create=False)


def test_sqlite_is_durable_by_default(file: Path) -> None:
    """WAL and synchronous = FULL (2): each commit is on disk when ``record`` returns."""
    with Ledger(f"sqlite:///{file}") as ledger, ledger._engine.connect() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_postgresql_holds_the_same_rows(ledger: Ledger, postgres: Callable[[], str]) -> None:
    """The same run in PostgreSQL: row by row what SQLite holds; truncation and audit work there."""
    with Ledger(postgres()) as there:
        there.open_run("r", NAMES, start=START, timezone=ZONE)
        _play(there)
        there.truncate_from(5)
        _play(there, 4)
        there.record(INTERVALS, None, settlement_of(INTERVALS - 1))
        assert _rows(there) == _rows(ledger)
        assert there.verify().ok
        assert there.balances() == ledger.balances()


LATECOMERS = ("Zoe", "maple-7")


def _grow(ledger: Ledger, first: int = 0) -> None:
    """Play a run that two households join before interval 4, and trade in from there on."""
    for t in range(first, 8):
        grown = len(NAMES) + (len(LATECOMERS) if t >= 4 else 0)
        if t == 4:
            ledger.admit(LATECOMERS)
        fills, settlement = _padded(fills_of(t), grown), None
        if t:
            settlement = settlement_of(t - 1)
            none = np.zeros(grown - len(NAMES), np.int64)
            settlement = replace(
                settlement,
                grid_import=np.concatenate((settlement.grid_import, none + 7)),
                grid_export=np.concatenate((settlement.grid_export, none)),
                cost=np.concatenate((settlement.cost, none + 2)),
                revenue=np.concatenate((settlement.revenue, none)),
            )
        ledger.record(t, fills, settlement)


def _padded(fills: Fills, households: int) -> Fills:
    none = np.zeros(households - len(fills.bought), np.int64)
    return replace(
        fills,
        **{
            name: np.concatenate((getattr(fills, name), none))
            for name in ("bought", "sold", "paid", "received")
        },
    )


def test_households_join_a_running_ledger(file: Path) -> None:
    """They get the next accounts, in the order of admission; the run goes on with them when it is
    opened again, whether it was told of them or not, and the audit knows them."""
    names = [*NAMES, *LATECOMERS]
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.open_run("r", NAMES, start=START)
        _grow(ledger)
        assert ledger.verify().error is None
        assert list(ledger.balances())[-2:] == list(LATECOMERS)
        assert [row.account for row in ledger.rows() if row.kind == Kind.ADMISSION] == [10, 11]
        kept = _rows(ledger)
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.open_run("r", names, start=START)
        assert not ledger.record(7, _padded(fills_of(7), len(names)), None)
        ledger.open_run("r", [*names, "Ada"], start=START)
        ledger.record(8, Fills.none(len(names) + 1))
        assert ledger.verify().error is None
        assert _rows(ledger)[: len(kept)] == kept
        assert list(ledger.balances())[-1] == "Ada"
        with pytest.raises(InputError, match="other households"):
            ledger.open_run("r", [*NAMES, "maple-7", "Zoe"], start=START)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE ledger_accounts SET name = 'Zoé' WHERE name = 'Zoe'", "its hash is not that"),
        ("UPDATE ledger_accounts SET since = 5 WHERE since = 4", "was not admitted in interval 4"),
        ("UPDATE ledger_accounts SET since = -1 WHERE name = 'Zoe'", "row 0"),
        ("UPDATE ledger_accounts SET account = 99 WHERE account = 11", "accounts are numbered"),
        ("UPDATE ledger_accounts SET account = 12 WHERE account = 3", "accounts are numbered"),
        ("DELETE FROM ledger_accounts WHERE account = 11", "its hash is not that"),
        (
            "INSERT INTO ledger_accounts VALUES (1, 12, 'household', 'ghost', 6)",
            "account 12 has no admission",
        ),
    ],
)
def test_verification_knows_who_was_admitted_and_when(file: Path, change: str, found: str) -> None:
    """Names, numbers and admissions of households that came later are in the chain as well."""
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.open_run("r", NAMES, start=START)
        _grow(ledger)
        assert ledger.verify().ok
    with sqlite3.connect(file) as db:
        assert db.execute(change).rowcount >= 1
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.attach()
        error = ledger.verify().error
    assert error is not None
    assert found in error


def test_a_household_without_postings_has_an_empty_bill(file: Path) -> None:
    """Nothing traded, nothing owed: no lines, and sums of zero."""
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.open_run("r", NAMES, start=START)
        made = bill(ledger, "r", NAMES[0])
        assert made.lines.empty
        assert made.total["total"] == 0
        with pytest.raises(InputError, match="the first day is after the last"):
            bill(ledger, "r", NAMES[0], first=date(2020, 2, 1), last=date(2020, 1, 1))
