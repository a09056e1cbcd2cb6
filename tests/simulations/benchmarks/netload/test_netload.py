"""Corrections of own days: who learns from what, how they are scored, and that they are lived."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from common.data.frame import Household
from common.data.store import write_household
from common.data.synthetic import generate
from common.errors import InputError
from common.forecast.net_inputs import NetRows, net_rows
from simulations.benchmarks.forecasts.neural import Homes, Plan
from simulations.benchmarks.forecasts.panel import Span, make_panel
from simulations.benchmarks.netload import trees
from simulations.benchmarks.netload.command import app
from simulations.benchmarks.netload.run import ROWS, Setup, _cut, _errors, issue, learn
from simulations.benchmarks.traders.run import Days
from simulations.homes import load_households
from tests.support.commands import refused

BEGINS = 63 * 48
PLAN = Plan("slot-small", rounds=1, local_steps=1, batch_size=4)


def panel_of(spoilt_from: int | None = None) -> tuple[list[NetRows], Homes]:
    """Two homes, 70 days; readings from row ``spoilt_from`` on are others."""
    first = pd.Timestamp("2023-03-01", tz="Europe/London").tz_convert("UTC")
    made = []
    for name in ("H0001", "H0002"):
        home = generate(name, seed=3, first=first, intervals=70 * 48)
        if spoilt_from is not None:
            frame = home.frame.copy()
            frame.iloc[spoilt_from:, frame.columns.get_indexer(["misc", "pv"])] += 0.5
            home = replace(home, frame=frame)
        made.append(home)
    panel = make_panel(made)
    known = Homes(panel, Span(BEGINS, 70 * 48), PLAN, seed=0)
    return [net_rows(history, len(history)) for history in panel.histories], known


@pytest.mark.parametrize("row", ROWS)
def test_no_row_sees_what_is_not_known_yet(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changing every reading from half hour t on changes nothing of what was told up to t, whoever
    has taught it; what is told after t does change."""
    monkeypatch.setattr(trees, "TREES", 3)
    t = 5 * 48 + 7
    (rows, homes), (other, again) = panel_of(), panel_of(BEGINS + t)
    plain = issue(learn(row, homes, rows, BEGINS), 1, rows[1], BEGINS)
    spoilt = issue(learn(row, again, other, BEGINS), 1, other[1], BEGINS)
    assert np.array_equal(plain[: t + 1], spoilt[: t + 1])
    assert not np.array_equal(plain[t + 1 :], spoilt[t + 1 :])
    assert np.isfinite(plain).all()
    assert (np.diff(plain, axis=1) >= 0).all()


def test_errors_are_those_of_a_sorted_sample() -> None:
    """A sample that is what came has no error; one that is off by x at every quantile has CRPS and
    RMSE x, in the half hour being traded and later, in every week; nothing after the last reading
    counts."""
    (rows, *_), _ = panel_of()
    net = rows.load - rows.pv
    came = np.full((len(net) - BEGINS, 48), 0.0)
    for k in range(48):
        came[: len(came) - k, k] = net[BEGINS + k :]
    exact = np.repeat(came[:, None], 14, 1)
    for off in (0.0, 0.25):
        found = _errors("x", "s", 0, [rows], BEGINS, [exact + off])
        assert found.crps == pytest.approx(np.full((1, 1), off), abs=1e-6)
        assert found.crps_now == pytest.approx(np.full((1, 1), off), abs=1e-6)
        assert found.rmse == pytest.approx([off], abs=1e-6)
        assert found.by_step == pytest.approx(np.full(48, off), abs=1e-6)
    assert found.cover == 0.0


def test_a_home_that_has_not_measured_as_long_is_named() -> None:
    """The rows are those of the run: the history, then the days; who lacks one is refused."""
    first = pd.Timestamp("2023-05-01", tz="Europe/London").tz_convert("UTC")
    home: Household = generate("H0001", seed=3, first=first, intervals=20 * 48)
    setup = Setup(5.0, 10, PLAN, ROWS, False, ())
    kept = _cut(home, date(2023, 5, 12), setup).frame.index
    assert kept[0] == pd.Timestamp("2023-05-02", tz="Europe/London")
    assert len(kept) == 15 * 48
    with pytest.raises(InputError, match="H0001"):
        _cut(home, date(2023, 5, 9), setup)


def test_the_command_scores_and_lives_every_row(tmp_path: Path) -> None:
    """Two homes, two days after 68 of history: own days cost to the last bit what
    the trader's row of that name does, a model is told and traded by, and the files are there."""
    out = tmp_path / "out"
    days = ["--data", "synthetic", "--households", "2", "--starts", "2024-04-01", "--days", "2"]
    learning = ["--preset", "slot-small", "--rounds", "1", "--local-steps", "1"]
    which = ["--rows", "own_days,federated", "--history-days", "68"]
    done = CliRunner().invoke(app, ["--out", str(out), *days, *learning, *which])
    assert done.exit_code == 0, done.output
    found = json.loads((out / "results.json").read_text())
    assert (out / "picture.png").stat().st_size > 1000
    own, federated = found["scores"]
    assert own["cost"] != federated["cost"]
    assert [pair["row"] for pair in found["compared"]] == ["federated"]
    for home in load_households("synthetic", households=2, days=120, seed=0, timezone=None):
        write_household(home, tmp_path / "homes")
    span = Days(
        [f"data.source={tmp_path / 'homes'}", "run.households=2", "run.start=2024-04-01",
         "run.days=2", "run.history_days=68", "run.seed=0"],
        cap=1.0,
    )  # fmt: skip
    assert span.score("bid-curve, own days").cost == own["cost"]
    span.close()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--days", "0"], "--days"),
        (["--starts", "soon"], "soon"),
        (["--rows", "oracle"], "oracle"),
        (["--preset", "huge"], "huge"),
        (["--preset", "edge"], "edge"),
        (["--skip", "10"], "--skip"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    """One line that names the flag or value, nothing written."""
    out = tmp_path / "out"
    assert named in refused(app, "--out", str(out), *arguments)
    assert not out.exists()
