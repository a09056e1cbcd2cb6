"""``fedwatt ledger``: verification's exit status, and bills that add up."""

import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import typer

from common.errors import InputError
from common.market_rules import MICRO
from fl_server.ledger import Ledger
from simulations.commands.ledger import bill, verify
from tests.support.booked import NAMES, START, ZONE, fills_of, settlement_of

INTERVALS = 60


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of 60 intervals from local midnight."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START, timezone=ZONE)
        for t in range(INTERVALS):
            ledger.record(t, fills_of(t), settlement_of(t - 1) if t else None)
        ledger.record(INTERVALS, None, settlement_of(INTERVALS - 1))
    return tmp_path


def test_verify_says_what_it_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A right ledger: one line, no exit status; by folder and by file."""
    for where in (run, run / "ledger.sqlite"):
        verify(str(where))
        assert capsys.readouterr().out.endswith("rows in 120 entries: correct\n")


def test_verify_fails_on_a_wrong_row(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, and the row."""
    with sqlite3.connect(run / "ledger.sqlite") as db:
        db.execute("UPDATE ledger_postings SET money_in_micro = 1 WHERE seq = 17")
    with pytest.raises(typer.Exit) as left:
        verify(str(run))
    assert left.value.exit_code == 1
    assert "WRONG: row 17" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["interval", "day", "month", "total"])
def test_bills_add_up_to_the_ledger(run: Path, by: str) -> None:
    """Whatever the period, the CSV's total is the account's balance, to the micro."""
    out = run / "bill.csv"
    bill(str(run), "H2", by=by, form="csv", out=out)  # type: ignore[arg-type]
    lines = pd.read_csv(out)
    with Ledger(f"sqlite:///{run / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        owed = -ledger.balances()["H2"][1]
    assert round(lines["total"].sum() * MICRO) == owed
    assert len(lines) == {"day": 2, "month": 1, "total": 1}.get(by, len(lines))


def test_days_are_local(run: Path) -> None:
    """48 intervals belong to 1 October in Los Angeles, 12 to the 2nd, and ``--to`` is included."""
    out = run / "bill.csv"
    bill(str(run), "H2", by="day", form="csv", out=out)
    assert pd.read_csv(out)["period"].tolist() == ["2016-10-01", "2016-10-02"]
    expected = sum(int(settlement_of(t).grid_import[2]) for t in range(48))
    day = pd.Timestamp("2016-10-01")
    bill(str(run), "H2", first=day, last=day, by="total", form="csv", out=out)
    assert round(pd.read_csv(out)["grid_import_kwh"].sum() * 1e6) == expected


def test_a_run_folder_tells_the_calendar(run: Path) -> None:
    """``summary.json`` names the zone of the homes: in Tokyo interval 0 is 16:00, and 16
    intervals later the second day begins."""
    (run / "summary.json").write_text('{"data": {"timezone": "Asia/Tokyo"}}')
    bill(str(run), "H2", by="day", form="csv", out=run / "bill.csv")
    day = pd.read_csv(run / "bill.csv").set_index("period")["grid_import_kwh"]
    expected = sum(int(settlement_of(t).grid_import[2]) for t in range(16))
    assert round(day["2016-10-01"] * 1e6) == expected


def test_table_and_page_show_the_total(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All three forms tell the same sum."""
    bill(str(run), "H2", form="csv", out=run / "bill.csv")
    total = pd.read_csv(run / "bill.csv")["total"].sum()
    capsys.readouterr()
    bill(str(run), "H2")
    assert f"{total:.3f}" in capsys.readouterr().out.splitlines()[-2]
    bill(str(run), "H2", form="page", out=run / "bill.html")
    html = (run / "bill.html").read_text()
    assert f"<b>{abs(total):.2f}</b>" in html
    assert "http" not in html


def test_mistakes_are_named(run: Path, tmp_path: Path) -> None:
    """No such household, run, file or time zone; nothing is created by looking."""
    for arguments, complaint in (
        ({"run": str(run), "household": "H9"}, "household 'H9'.* H0, H1, H2, H3, H4 and 1 more"),
        ({"run": str(run), "household": "H1", "name": "x"}, "run 'x': expected one of r"),
        ({"run": str(run / "none"), "household": "H1"}, "no such file; RUN is"),
        ({"run": str(run.parent), "household": "H1"}, "the folder holds no run"),
        ({"run": str(run), "household": "H1", "timezone": "Mars"}, "time zone 'Mars'"),
    ):
        with pytest.raises(InputError, match=complaint):
            bill(**arguments)  # type: ignore[arg-type]
    assert not (run / "none").exists()


def test_a_database_of_several_runs_asks_which(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With two runs in one file the name decides; without it the error lists them."""
    with Ledger(f"sqlite:///{run / 'ledger.sqlite'}", durable=False) as ledger:
        ledger.open_run("other", NAMES, start=START)
    file = str(run / "ledger.sqlite")
    with pytest.raises(InputError, match="expected one of r, other"):
        verify(file)
    verify(file, name="other")
    assert capsys.readouterr().out == "ledger of run other: 0 rows in 0 entries: correct\n"


def test_a_deployment_bills_in_the_zone_of_its_settings(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a summary, as in a deployment, months and days are those of data.timezone."""
    (run / "config.yaml").write_text("data: {timezone: Asia/Tokyo}\n")
    bill(str(run), "H2")
    assert "time zone Asia/Tokyo" in capsys.readouterr().out
