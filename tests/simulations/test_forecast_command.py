"""``fedwatt forecast``: what a model says is printed and drawn, and the run is left as it is."""

import hashlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from common.config import Settings
from common.errors import InputError
from simulations.commands.forecast import app
from simulations.report import tables, text, write_report
from simulations.report.outlooks import month_bills, outlook_in
from simulations.report.run import read_run
from tests.support.commands import refused
from tests.support.runs import small


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def learned(homes: Path, run: Callable[[Settings], Path]) -> Path:
    """Two days, of which the first round of learning begins each."""
    return run(small(homes, "run.days=2", "fl.every_hours=24"))


def test_an_outlook_goes_on_where_the_run_ends(learned: Path) -> None:
    """Day, week and month of consumption and price from the last settled row on, in local time; the
    run is left as it is."""
    before = digests(learned)
    found, _ = outlook_in(learned, "H0002")
    assert found.name == "H0002"
    sizes = {one.name: (len(one.consumption), len(one.price)) for one in found.ahead}
    assert sizes == {"day": (48, 48), "week": (336, 336), "month": (1440, 1440)}
    end = pd.Timestamp("2023-05-12", tz="Europe/London")
    assert end - pd.Timedelta("3h") <= found.begins <= end
    assert all(np.isfinite(one.consumption).all() and (one.price > 0).all() for one in found.ahead)
    assert digests(learned) == before


def test_the_month_is_what_is_booked_and_the_rest(learned: Path) -> None:
    """Booked: the run's own costs of May in local time, to the last bit of a sum. Rest: reckoned
    here again with arrays, from the forecast, the mean of the sun and of the feed-in price by time
    of day, for the half hours of May that follow the last settled one."""
    found, bill = outlook_in(learned, "H0003")
    assert bill is not None
    with sqlite3.connect(learned / "households" / "H0003" / "household.sqlite") as db:
        query = "SELECT t, time, pv, feed_in, cost FROM intervals WHERE settled ORDER BY t"
        t, time, pv, feed_in, cost = zip(*db.execute(query), strict=True)
    assert bill.booked.total == pytest.approx(sum(cost), abs=1e-9)
    usual = pd.DataFrame({"pv": pv, "feed_in": feed_in})
    usual.index = pd.DatetimeIndex(time).tz_convert("Europe/London")
    usual = usual.groupby([usual.index.hour, usual.index.minute]).mean()
    assert (usual["pv"] > 0).any()
    begins = pd.Timestamp(time[-1]) + pd.Timedelta("30min")
    ahead = pd.date_range(begins, pd.Timestamp("2023-05-31 22:30", tz="UTC"), freq="30min")
    at = t[-1] + 1 - found.t + np.arange(len(ahead))
    assert at[0] >= 0
    local = ahead.tz_convert("Europe/London")
    expected = usual.loc[list(zip(local.hour, local.minute, strict=True))]
    net = found.month.consumption[at] - expected["pv"].to_numpy()
    paid = np.maximum(net, 0) @ found.month.price[at]
    earned = np.maximum(-net, 0) @ expected["feed_in"].to_numpy()
    assert bill.rest.intervals == len(ahead)
    assert bill.rest.total == pytest.approx(paid - earned, rel=1e-6)
    assert bill.total == bill.booked.total + bill.rest.total


def test_the_report_tells_what_the_month_should_cost(learned: Path) -> None:
    """A row for each household: booked, rest, and their sum, which are those of its outlook."""
    run = read_run(learned)
    bills = month_bills(run)
    assert list(bills) == ["H0001", "H0002", "H0003"]
    shown = str(tables.months(bills))
    for name, bill in bills.items():
        assert bill == outlook_in(learned, name).bill
        row = (name, "May", *map(text.money, (bill.booked.total, bill.rest.total, bill.total)))
        cells = re.findall(r"<td[^>]*>(.*?)</td>", shown.split(f">{name}<")[1].split("</tr>")[0])
        assert cells == [*row[1:]]
    assert "What the month should cost" in write_report(learned).read_text()


def test_it_is_printed_and_drawn(learned: Path, tmp_path: Path) -> None:
    """A line for each horizon, one for the bill, a picture of some size."""
    path = tmp_path / "outlook.png"
    done = CliRunner().invoke(app, [str(learned), "--household", "H0001", "--out", str(path)])
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0].strip() for line in done.output.splitlines()[:4]] == [
        "day", "week", "month", "bill"
    ]  # fmt: skip
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "named"), [(["--household", "H9"], "H9"), ([], "neither a run")]
)
def test_what_is_not_there_is_named(
    learned: Path, tmp_path: Path, arguments: list[str], named: str
) -> None:
    """One line that names the household, or the folder that is no run."""
    folder = learned if arguments else tmp_path
    assert named in refused(app, str(folder), *arguments)


def test_a_household_without_a_model_is_told(homes: Path, run: Callable[[Settings], Path]) -> None:
    """A run in which nobody learns has nothing to forecast with, and the line says what would."""
    folder = run(small(homes, "fl.enabled=false", "run.days=0.25"))
    with pytest.raises(InputError, match=r"fl\.enabled"):
        outlook_in(folder)
    assert month_bills(read_run(folder)) == {}
