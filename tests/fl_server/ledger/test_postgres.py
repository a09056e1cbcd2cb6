"""The ledger in a shared PostgreSQL, written by the coordinator's role."""

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from common import database, schema_ledger
from fl_server.ledger import Ledger
from fl_server.market.book import Fills
from fl_server.price_lists import PriceList
from fl_server.settlement import settle
from fl_server.statement import statement

POLICIES = Path(__file__).parents[3] / "configs" / "sql" / "shared_project.sql"
HOMES = ("B01", "B02", "B03")
LISTS = [PriceList(*range(11)), PriceList(*range(11, 22))]


def book(url):
    """Book 48 intervals of three homes that trade, and return the ledger's rows."""
    rng = np.random.default_rng(0)
    with Ledger(url) as ledger:
        ledger.open_run("june", HOMES, start="2024-06-01T00:00:00+00:00")
        settlement = None
        for interval in range(48):
            sent = int(rng.integers(1, 1_000_000))
            fills = Fills.none(3)
            fills.sold[0], fills.received[0] = sent, sent // 10
            fills.bought[1], fills.paid[1] = sent - sent // 20, sent // 10
            fills = Fills(fills.bought, fills.sold, fills.paid, fills.received, loss=sent // 20)
            ledger.record(interval, fills, settlement, prices=(LISTS, np.array([0, 1, 1])))
            taken, given = rng.integers(0, 2_000_000, (2, 3))
            settlement = settle(taken, given, fills, 300_000, 50_000)
        ledger.record(48, None, settlement, None, (47, np.array([-30, 25, 5])))
    db = database.engine(url)
    with db.connect() as connection:
        order = schema_ledger.postings.c.seq
        return connection.execute(sa.select(schema_ledger.postings).order_by(order)).all()


@pytest.fixture(scope="module")
def street(postgres):
    """A migrated project with policies, a coordinator and a household."""
    url = postgres()
    owner = database.engine(url)
    database.migrate(owner)
    with owner.begin() as connection:
        connection.exec_driver_sql(POLICIES.read_text().replace("%", "%%"))
        for role in ("ledger_coordinator", "ledger_b01"):
            connection.exec_driver_sql(f"create role {role} login")
        connection.exec_driver_sql("grant fedwatt_coordinator to ledger_coordinator")
        connection.exec_driver_sql("select fedwatt_admit('B01', 'ledger_b01', 'UTC', 'street')")
    return url.replace("postgres@", "{}@")


def test_the_coordinator_books_the_same_rows_as_in_sqlite(street, tmp_path):
    """Same hashes, same figures, row by row; and a household reads its own postings only."""
    rows = book(street.format("ledger_coordinator"))
    assert rows == book(f"sqlite:///{tmp_path}/ledger.sqlite")
    assert len(rows) > 48 * 4
    with database.engine(street.format("ledger_b01")).connect() as connection:
        seen = connection.execute(sa.select(schema_ledger.postings.c.account)).scalars().all()
    assert set(seen) == {4}  # accounts 0 to 3 are the community's
    assert len(seen) == sum(row.account == 4 for row in rows)
    with database.engine(street.format("ledger_b01")).connect() as connection:
        lists = schema_ledger.price_lists.c
        told = connection.execute(sa.select(lists.list, lists.energy_micro)).all()
        assert set(told) == {(0, 0)}  # of others' prices it sees none
        assert len(told) == 48
        made = statement_of(street.format("ledger_b01"))
    assert (
        made.of("total")["amount"]["total"]
        == statement_of(street.format("ledger_coordinator")).of("total")["amount"]["total"]
    )


def statement_of(url):
    with Ledger(url, create=False) as ledger:
        ledger.attach("june")
        return statement(ledger, "june", "B01", by="total")


def test_a_project_with_policies_of_before_is_opened_to_the_new_tables(postgres):
    """Migrated once more, the coordinator's role keeps prices and a household reads its own."""
    url = postgres()
    owner = database.engine(url)
    database.migrate(owner)
    with owner.begin() as connection:
        connection.exec_driver_sql(POLICIES.read_text().replace("%", "%%"))
        connection.exec_driver_sql("drop table bill_prices, bill_members")
        connection.exec_driver_sql("update alembic_version set version_num = '0005'")
        connection.exec_driver_sql("create role later_coordinator login")
        connection.exec_driver_sql("grant fedwatt_coordinator to later_coordinator")
    database.migrate(owner)
    book(url.replace("postgres@", "later_coordinator@"))


def test_a_household_cannot_book(street):
    """Its role may read its postings, not open a run or write one."""
    with (
        Ledger(street.format("ledger_b01")) as ledger,
        pytest.raises(sa.exc.DBAPIError, match="permission denied"),
    ):
        ledger.open_run("july", HOMES, start="2024-07-01T00:00:00+00:00")
