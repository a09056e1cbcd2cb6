"""Ledgers of older releases: carried over whole, or refused with a reason."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from common import database
from common.errors import InputError
from fl_server.bills import bill
from fl_server.ledger import ON_TIME, Kind, Ledger
from tests.support.booked import MOVED, NAMES, START, ZONE, capped, fills_of

INTERVALS = 8


def entry_before(kind: int, late: int) -> int:
    """The one number in which ledgers packed kind and late household."""
    if kind == Kind.COMPENSATION:
        return (1 << 31) - 1
    if kind == Kind.SURCHARGE:
        return (1 << 30) + (0 if late == ON_TIME else 1 + late)
    return kind if late == ON_TIME else 2 + late


def played(url: str) -> list[tuple[object, ...]]:
    """A run with every kind of entry, as this release writes it."""
    with Ledger(url) as ledger:
        ledger.open_run("r", NAMES, start=START, timezone=ZONE)
        for t in range(INTERVALS):
            if t == 5:
                ledger.record_late(2, 4, capped(9))
            ledger.record(t, fills_of(t), capped(t - 1) if t else None)
        ledger.record(INTERVALS, None, capped(INTERVALS - 1), None, (INTERVALS - 1, MOVED))
        return [tuple(row) for row in ledger.rows()]


def written_before(url: str, rows: list[tuple[object, ...]]) -> None:
    """The same run as the release before wrote it, tables and hashes."""
    engine = database.engine(url)
    with engine.begin() as db:
        command.upgrade(database._config(db), "0002")
        chart = [*(("community", n) for n in ("grid", "loss", "market", "fees"))]
        chart += [("household", name) for name in NAMES]
        head = hashlib.sha256(json.dumps(["r", START, ZONE, chart]).encode()).digest()
        db.execute(
            sa.text("insert into ledger_runs values (1, 'r', :start, :zone, -1, :head)"),
            {"start": START, "zone": ZONE, "head": head},
        )
        for number, (kind, name) in enumerate(chart):
            db.execute(
                sa.text("insert into ledger_accounts values (1, :n, :kind, :name)"),
                {"n": number, "kind": kind, "name": name},
            )
        for row in rows:
            _, seq, interval, kind, late, *rest, _revision, _hash = row
            assert isinstance(kind, int)
            assert isinstance(late, int)
            old = (seq, interval, entry_before(kind, late), *rest)
            head = hashlib.sha256(head + struct.pack(">8q", *old)).digest()
            names = dict(zip("abcdefgh", old, strict=True)) | {"hash": head}
            values = ", ".join(f":{name}" for name in names)
            db.execute(sa.text(f"insert into ledger_postings values (1, {values})"), names)
        db.execute(
            sa.text("update ledger_runs set head_seq = :seq, head_hash = :head"),
            {"seq": len(rows) - 1, "head": head},
        )
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: Callable[[], str]) -> str:
    return postgres() if request.param == "postgresql" else f"sqlite:///{tmp_path / 'old.sqlite'}"


def test_a_ledger_is_carried_over_whole(url: str, tmp_path: Path) -> None:
    """Carried over, it is to the last byte the ledger that this release would have written: every
    kind of entry, late ones too. Before that it is refused, with the command that helps."""
    rows = played(f"sqlite:///{tmp_path / 'new.sqlite'}")
    since = {
        Kind.ADMISSION,
        Kind.ESTIMATE,
        Kind.REVISION,
        Kind.STANDING,
    }  # no ledger of that time has them
    assert {row[3] for row in rows} == set(Kind) - since
    assert {row[4] for row in rows} == {ON_TIME, 4}
    written_before(url, rows)
    with pytest.raises(InputError, match="older release; 'fedwatt data migrate"):
        Ledger(url)
    assert database.migrate(database.engine(url)) == ("0002", database.newest_version())
    with Ledger(url) as ledger:
        assert ledger.attach() == "r"
        assert [tuple(row) for row in ledger.rows()] == rows
        assert ledger.verify().error is None
        assert bill(ledger, "r", NAMES[4]).total["surcharge"] > 0
        ledger.open_run("r", [*NAMES, "Zoe"], start=START, timezone=ZONE)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("update ledger_postings set money_in_micro = money_in_micro + 1 where seq = 9", "row 9"),
        ("delete from ledger_postings where seq = 4", "row 4 is not what was booked"),
        ("update ledger_runs set head_seq = head_seq + 3", "it has not the rows"),
        ("update ledger_runs set head_seq = head_seq - 1", "it has not the rows"),
        ("update ledger_runs set head_hash = zeroblob(32)", "its last row"),
        ("update ledger_accounts set name = 'mine' where account = 5", "row 0"),
    ],
)
def test_a_ledger_that_was_tampered_with_is_not_carried_over(
    tmp_path: Path, change: str, why: str
) -> None:
    """A new chain over changed rows would vouch for them; and nothing is left half done."""
    rows = played(f"sqlite:///{tmp_path / 'new.sqlite'}")
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    written_before(url, rows)
    engine = database.engine(url)
    with engine.begin() as db:
        db.execute(sa.text(change))
    with pytest.raises(InputError, match=f"{why}.*not carried over"):
        database.migrate(engine)
    assert database.version(engine) == "0002"
    with engine.connect() as db:
        there = db.scalar(sa.text("select count(*) from ledger_postings where entry >= 0"))
    assert there in (len(rows), len(rows) - 1)


def test_policies_and_grants_of_a_shared_database_stay(
    tmp_path: Path, postgres: Callable[[], str]
) -> None:
    """A household's role sees its own postings after the migration, and nobody else's."""
    url = postgres()
    written_before(url, played(f"sqlite:///{tmp_path / 'new.sqlite'}"))
    engine = database.engine(url)
    with engine.begin() as db:
        db.execute(sa.text("create role kept_home login"))
        db.execute(sa.text("grant select on ledger_postings, ledger_accounts to kept_home"))
        db.execute(sa.text("alter table ledger_postings enable row level security"))
        db.execute(
            sa.text(
                "create policy own on ledger_postings for select to kept_home using (account = 5)"
            )
        )
    database.migrate(engine)
    with database.engine(url.replace("postgres@", "kept_home@")).connect() as db:
        seen = set(db.scalars(sa.text("select account from ledger_postings")))
        assert seen == {5}
        with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
            db.execute(sa.text("delete from ledger_postings"))
