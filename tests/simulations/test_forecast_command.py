"""``fedwatt forecast``: what a model says is printed and drawn, and the run is left as it is."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from common.config import Settings
from common.errors import InputError
from simulations.commands.forecast import app
from simulations.report.outlook import outlook_of
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
    month's bill is what of the grid's price was paid so far, of what is expected."""
    before = digests(learned)
    found = outlook_of(learned, "H0002")
    assert found.name == "H0002"
    sizes = {one.name: (len(one.consumption), len(one.price)) for one in found.ahead}
    assert sizes == {"day": (48, 48), "week": (336, 336), "month": (1440, 1440)}
    end = pd.Timestamp("2023-05-12", tz="Europe/London")
    assert end - pd.Timedelta("3h") <= found.begins <= end
    assert all(np.isfinite(one.consumption).all() and (one.price > 0).all() for one in found.ahead)
    month = found.ahead[-1]
    assert found.paid_share is not None
    assert found.bill == pytest.approx(found.paid_share * (month.consumption * month.price).sum())
    assert 1 <= found.days < 2
    assert digests(learned) == before


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
    ("arguments", "named"), [(["--household", "H9"], "H9"), ([], "holds no run")]
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
        outlook_of(folder)
