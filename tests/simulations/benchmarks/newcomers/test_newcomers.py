"""Homes that join: what they know of their own past is cut, what others learned is theirs."""

import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from common.data.synthetic import generate
from common.errors import InputError
from simulations.benchmarks.newcomers.command import app
from simulations.benchmarks.newcomers.run import _young
from tests.support.commands import refused


def test_a_young_home_has_measured_since_it_joined() -> None:
    """Readings begin the days before the start that were asked for, at the same values, and a home
    that has fewer is named."""
    first = pd.Timestamp("2023-05-01", tz="Europe/London").tz_convert("UTC")
    home = generate("H0001", seed=3, first=first, intervals=20 * 48)
    young = _young(home, date(2023, 5, 10), 3)
    begin = pd.Timestamp("2023-05-07", tz="Europe/London")
    assert young.frame.index[0] == begin
    assert young.frame.equals(home.frame.loc[begin:])
    with pytest.raises(InputError, match="H0001"):
        _young(home, date(2023, 5, 10), 12)


def test_the_command_compares_with_and_without_the_others(tmp_path: Path) -> None:
    """Two homes learn for a day, two join with 0 and 2 days of history: a line each, whose shares
    are those of its scores and whose gain has the sign of what was paid less."""
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["--out", str(out), "--data", "synthetic", "--settled", "2", "--joining", "2",
         "--starts", "2024-05-05", "--days", "1", "--history", "0,2", "--learned-days", "1",
         "--set", "model.preset=slot-small", "--set", "fl.local_steps=1"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((out / "results.json").read_text())
    assert [line["days"] for line in found["history"]] == [0, 2]
    for line in found["history"]:
        mine = [score for score in found["scores"] if score["history"] == line["days"]]
        own, federated = (score["share_of_optimum"] for score in mine)
        assert (line["alone"], line["federated"]) == (own, federated)
        paid = [sum(map(sum, score["weekly"].values())) for score in mine]
        assert (paid[0] - paid[1]) * line["gain"]["points"] >= 0
        assert not any(score["unserved_kwh"] for score in mine)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--days", "0"], "--days"),
        (["--starts", "soon"], "soon"),
        (["--history", "-1"], "--history"),
        (["--history", "a week"], "a week"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    """One line that names the flag or value, nothing written."""
    out = tmp_path / "out"
    assert named in refused(app, "--out", str(out), *arguments)
    assert not out.exists()
