"""Against a real PostgreSQL, started by the tests, and SQLite."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from common import database, schema_ledger
from common.data import schema
from common.data.frame import Household
from common.data.source import open_source
from common.data.sql import Readings
from common.errors import InputError
from tests.support.frames import frame

POLICIES = Path(__file__).parents[3] / "configs" / "sql" / "shared_project.sql"


def home(name="B01", rows=96, seed=0):
    readings = frame(rows=rows)
    draw = np.random.default_rng(seed)
    for column in ("misc", "stove", "pv", "price", "temperature", "solar_irradiance"):
        readings[column] = draw.random(rows)
    filled = np.zeros(rows, dtype=bool)
    filled[3] = True
    return Household(name, readings, "Europe/London", 60, "a meter", True, 1, 30, filled)


@pytest.fixture(params=["postgres", "sqlite"])
def url(request, tmp_path):
    """Return the URL of a migrated database of either kind."""
    made = (
        request.getfixturevalue("postgres")()
        if request.param == "postgres"
        else f"sqlite:///{tmp_path}/home.sqlite"
    )
    database.migrate(database.engine(made))
    return made


def test_what_is_written_is_read_again(url):
    """Every reading, price and weather value survives; so do zone, resolution and filled rows."""
    readings = Readings(url)
    readings.write(home())
    again = readings.load("B01")
    pd.testing.assert_frame_equal(again.frame, home().frame, check_freq=False, check_names=False)
    assert (again.timezone, again.resolution_minutes, again.phase_minutes, again.real) == (
        "Europe/London",
        60,
        30,
        True,
    )
    assert again.filled_rows.tolist() == home().filled_rows.tolist()
    assert again.filled_values == 1


def test_export_prices_are_kept(url):
    """A home that has them gets them back, and one of another area has none."""
    sold = home("B02")
    sold = replace(sold, frame=sold.frame.assign(export_price=np.linspace(-0.1, 0.2, 96)))
    readings = Readings(url)
    readings.write(sold, "sold")
    readings.write(home("B01"), "unsold")
    assert readings.load("B02").export_price == pytest.approx(np.linspace(-0.1, 0.2, 96))
    assert readings.load("B01").export_price is None


def test_writing_again_replaces(url):
    """A household pushed twice has the second file's rows, not both."""
    readings = Readings(url)
    readings.write(home(rows=96))
    readings.write(home(rows=48, seed=1))
    assert readings.spans() == [("B01", "Europe/London", home().frame.index[0], 48)]
    assert readings.load("B01").consumption == pytest.approx(home(rows=48, seed=1).consumption)


def test_homes_of_one_area_have_one_price(url):
    """A home whose prices or weather are not those of its area is refused, with the value of both,
    and nothing of it is written; an area of its own keeps them. Alone there, a home's next file
    replaces them. What is equal, or of another time, stands beside."""
    readings = Readings(url)
    assert readings.write(home("B01")) == []
    readings.write(home("B02"))
    for column in ("price", "temperature"):
        other = home("B03", seed=0)
        other = replace(other, frame=other.frame.assign(**{column: other.frame[column] + 0.25}))
        with pytest.raises(InputError, match=rf"household B03: {column} at .* area home.*--area"):
            readings.write(other)
        assert [name for name, *_ in readings.spans()] == ["B01", "B02"]
    readings.write(other, "other")
    assert readings.load("B03").frame["temperature"].to_numpy() == pytest.approx(
        other.frame["temperature"].to_numpy()
    )
    assert readings.load("B01").frame["price"].to_numpy() == pytest.approx(
        home().frame["price"].to_numpy()
    )
    dearer = replace(other, frame=other.frame.assign(price=other.frame["price"] * 2))
    readings.write(dearer)  # no other home is in its area
    assert readings.load("B03").frame["price"].to_numpy() == pytest.approx(
        dearer.frame["price"].to_numpy()
    )
    with pytest.raises(InputError, match=r"household B02: price at"):
        readings.write(replace(dearer, name="B02"), None)
    readings.write(replace(dearer, name="B02"), "other")  # moves
    assert readings.load("B02").frame["price"].to_numpy() == pytest.approx(
        dearer.frame["price"].to_numpy()
    )


def test_a_database_is_a_source_of_a_run(url):
    """--data URL: the first households by name, and the start after the history."""
    readings = Readings(url)
    for name in ("B02", "B01", "B03"):
        readings.write(home(name, rows=48 * 4))
    source = open_source(url, seed=0, households=2, start=None, days=1, history_days=2)
    assert source.names() == ["B01", "B02"]
    assert source.real
    assert source.start() == pd.Timestamp("2024-01-03", tz="UTC")
    assert source.load("B02").name == "B02"
    with pytest.raises(InputError, match="4 households asked for"):
        open_source(url, seed=0, households=4, start=None, days=1, history_days=2)


def test_rows_a_household_wrote_itself_may_have_gaps(url):
    """A missing half hour is filled from the days before, counted and marked; many are refused."""
    readings = Readings(url)
    readings.write(home(rows=480))
    db = database.engine(url)
    times = home(rows=480).frame.index
    gone = schema.readings.c.time == times[200].to_pydatetime()
    with db.begin() as connection:
        connection.execute(schema.readings.delete().where(gone))
    again = readings.load("B01")
    expected = np.mean([home(rows=480).frame["misc"].iloc[200 - 48 * k] for k in range(1, 5)])
    assert again.frame["misc"].iloc[200] == pytest.approx(expected)
    assert np.flatnonzero(again.filled_rows).tolist() == [3, 200]
    with db.begin() as connection:
        many = schema.readings.c.time.between(
            times[100].to_pydatetime(), times[300].to_pydatetime()
        )
        connection.execute(schema.readings.delete().where(many))
    with pytest.raises(InputError, match=r"household B01: 41.9% of its half hours are missing"):
        readings.load("B01")


def test_the_migrated_schema_is_the_declared_one(postgres):
    """Alembic finds no difference between its tables and those the code reads and writes."""
    db = database.engine(postgres())
    database.migrate(db)
    declared = sa.MetaData()
    for metadata in (schema.metadata, schema_ledger.metadata):
        for table in metadata.tables.values():
            table.to_metadata(declared)
    with db.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), declared)
    assert difference == []


def test_a_schema_of_another_version_is_refused(url):
    """No schema, an older and a newer one: one line each, and migrate mends what it can."""
    db = database.engine(url)
    for version in ("0000", "9999"):
        with db.begin() as connection:
            connection.execute(sa.text(f"update alembic_version set version_num = '{version}'"))
        with pytest.raises(InputError, match=f"schema version {version}, this release needs"):
            Readings(url)
    with pytest.raises(InputError, match="newer than this release"):
        database.migrate(db)
    with db.begin() as connection:
        connection.execute(sa.text("drop table alembic_version"))
    with pytest.raises(InputError, match="holds no schema of fedwatt"):
        Readings(url)


def test_a_database_that_is_down_is_one_line(tmp_path):
    """The line says where and why."""
    with pytest.raises(InputError, match=r"database postgresql://.*No such file") as caught:
        Readings(f"postgresql://someone@/db?host={tmp_path}")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"127.0.0.1:9/db.*refused"):
        Readings("postgresql://someone@127.0.0.1:9/db")
    with pytest.raises(InputError, match="unable to open database file"):
        Readings(f"sqlite:///{tmp_path}/none/x.sqlite")


def test_passwords_come_from_the_environment_and_show_nowhere(
    postgres, monkeypatch, capfd, tmp_path
):
    """A URL with a password is refused without repeating it; a wrong one is one line; the right
    one works, from PGPASSWORD and from a pgpass file."""
    url = postgres(hba="guarded scram-sha-256")
    admin = database.engine(url)
    with admin.begin() as connection:
        connection.execute(sa.text("create role guarded login password 'right-one'"))
    guarded = url.replace("postgres@", "guarded@")
    with pytest.raises(InputError, match="PGPASSWORD") as caught:
        Readings(guarded.replace("guarded@", "guarded:s3cret@"))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        Readings(guarded + "&password=s3cret")
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", "wrong-one")
    with pytest.raises(InputError, match="password authentication failed") as caught:
        Readings(guarded)
    assert "wrong-one" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", "right-one")
    assert database.version(database.engine(guarded)) is None
    monkeypatch.delenv("PGPASSWORD")
    passwords = tmp_path / "pgpass"
    passwords.write_text("*:*:*:guarded:right-one\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert database.version(database.engine(guarded)) is None
    assert "one" not in "".join(capfd.readouterr())


def test_no_server_side_prepared_statements(postgres):
    """A transaction pooler hands every transaction another connection: nothing may be prepared."""
    url = postgres()
    database.migrate(database.engine(url))
    readings = Readings(url)
    readings.write(home())
    db = readings._db
    with db.connect() as connection:
        for _ in range(12):
            connection.execute(sa.select(schema.households)).all()
        assert connection.scalar(sa.text("select count(*) from pg_prepared_statements")) == 0


def test_supabase_urls_are_encrypted():
    """Both of Supabase's connection strings demand TLS and use psycopg 3."""
    for host in ("db.abc.supabase.co:5432", "aws-0-eu.pooler.supabase.com:6543"):
        url = database.parse_url(f"postgresql://postgres.abc@{host}/postgres")
        assert url.drivername == "postgresql+psycopg"
        assert url.query["sslmode"] == "require"


# --- Row-level security: two households and a coordinator in one project ---------------------


@pytest.fixture(scope="module")
def project(postgres):
    """A shared project: B01, B02 and a coordinator, each with a role of its own."""
    url = postgres()
    owner = database.engine(url)
    database.migrate(owner)
    logins = {"B01": "home_b01", "B02": "home_b02", "coordinator": "street_coordinator"}
    with owner.begin() as connection:
        # As Supabase does for its web interface.
        connection.exec_driver_sql("create role anon login")
        connection.exec_driver_sql("grant all on all tables in schema public to anon")
        for _ in range(2):  # the file may be run again
            connection.exec_driver_sql(POLICIES.read_text().replace("%", "%%"))
        for login in (*logins.values(), "outsider"):
            connection.exec_driver_sql(f"create role {login} login")
        connection.exec_driver_sql("grant fedwatt_coordinator to street_coordinator")
        for name in ("B01", "B02"):
            admit = f"select fedwatt_admit('{name}', '{logins[name]}', 'UTC', 'street')"
            connection.exec_driver_sql(admit)
    urls = {who: url.replace("postgres@", f"{login}@") for who, login in logins.items()}
    for stranger in ("outsider", "anon"):
        urls[stranger] = url.replace("postgres@", f"{stranger}@")
    for name, seed in (("B01", 1), ("B02", 2)):
        said = Readings(urls[name]).write(home(name, seed=seed))
        assert said == [
            f"{table} are not this role's to write: those of area street hold"
            for table in ("prices", "weather")
        ]
    return {**urls, "owner": url}


def denied(url, statement, why="permission denied"):
    with (
        pytest.raises(sa.exc.DBAPIError, match=why),
        database.engine(url).begin() as connection,
    ):
        connection.exec_driver_sql(statement)


def count(url, query):
    with database.engine(url).connect() as connection:
        return connection.exec_driver_sql(query).scalar()


def test_a_household_sees_its_own_rows_and_no_other(project):
    """96 of 192 rows exist for B01; B02's are invisible by every route, not just filtered."""
    assert count(project["owner"], "select count(*) from readings") == 192
    for me, other in (("B01", "B02"), ("B02", "B01")):
        mine = Readings(project[me])
        assert [s[0] for s in mine.spans()] == [me]
        assert count(project[me], "select count(*) from readings") == 96
        assert count(project[me], "select count(distinct household) from readings") == 1
        query = f"select count(*) from readings where household = '{other}'"
        assert count(project[me], query) == 0
        with pytest.raises(InputError, match=f"has no household '{other}'"):
            mine.load(other)
        assert mine.load(me).consumption.sum() > 0


def test_a_household_writes_no_rows_of_another(project):
    """Insert, update, delete, take-over and a change of policy are all refused."""
    b01 = project["B01"]
    insert = "insert into readings (household, time) values ('B02', '2030-01-01')"
    denied(b01, insert, "row-level security")
    denied(b01, "update readings set household = 'B02'", "row-level security")
    with database.engine(b01).begin() as connection:
        gone = connection.exec_driver_sql("delete from readings where household = 'B02'")
        assert gone.rowcount == 0
        changed = connection.exec_driver_sql("update readings set misc = 0 where household = 'B02'")
        assert changed.rowcount == 0
    denied(b01, "update households set owner = 'home_b01'")
    denied(b01, "insert into households (name, owner) values ('B03', 'home_b01')")
    denied(b01, "delete from households")
    denied(b01, "alter table readings disable row level security", "must be owner")
    denied(b01, "drop policy own_readings on readings", "must be owner")
    denied(b01, "set role home_b02")
    denied(b01, "set role fedwatt_coordinator")
    denied(b01, "select fedwatt_admit('B02', 'home_b01', 'UTC', 'street')")
    denied(b01, "truncate readings")
    assert count(project["B02"], "select count(*) from readings") == 96


def test_the_coordinator_sees_settlements_and_no_readings(project):
    """It books and reads the ledger; readings and households are closed to it."""
    coordinator = project["coordinator"]
    for table in ("readings", "households"):
        denied(coordinator, f"select * from {table}")
        denied(coordinator, f"delete from {table}")
    with database.engine(coordinator).begin() as connection:
        connection.exec_driver_sql(
            "insert into prices (area, time, price) values ('street', '2030-01-01', 0.3)"
        )
        run = connection.exec_driver_sql(
            "insert into ledger_runs (name, start, timezone, head_seq, head_hash)"
            " values ('r', '', 'UTC', -1, '') returning run"
        ).scalar()
        for account, name in ((4, "B01"), (5, "B02")):
            connection.exec_driver_sql(
                f"insert into ledger_accounts values ({run}, {account}, 'household', '{name}')"
            )
            connection.exec_driver_sql(
                f"insert into ledger_postings values"
                f" ({run}, {account}, 0, 0, -1, {account}, 1, 2, 3, 4, '')"
            )
        prices = schema_ledger.metadata.tables["bill_prices"]
        parts = ", ".join("0" for column in prices.c if column.name.endswith("_micro"))
        connection.exec_driver_sql(f"insert into bill_prices values ({run}, 0, 0, {parts})")
        connection.exec_driver_sql(f"insert into bill_members values ({run}, 4, 0, 0)")
    assert count(coordinator, "select count(*) from ledger_postings") == 2
    # Each household reads its own posting, and only reads.
    for name, account in (("B01", 4), ("B02", 5)):
        assert count(project[name], "select count(*) from ledger_postings") == 1
        assert count(project[name], "select account from ledger_postings") == account
        denied(project[name], "update ledger_postings set money_in_micro = 0")
        denied(project[name], "insert into prices values ('street', '2031-01-01', 0.1)")
        for table in ("bill_prices", "bill_members"):
            # Its own prices: B01's are the list there is, B02 has none.
            assert count(project[name], f"select count(*) from {table}") == (name == "B01")
            denied(project[name], f"delete from {table}")


@pytest.mark.parametrize("who", ["outsider", "anon"])
def test_a_stranger_sees_nothing(project, who):
    """A login that was never admitted reads no table at all, nor does Supabase's web role."""
    for table in (*schema.metadata.tables, *schema_ledger.metadata.tables):
        denied(project[who], f"select * from {table}")
