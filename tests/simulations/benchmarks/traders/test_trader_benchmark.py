"""The trader benchmark: forecasts read what is known; the command writes what it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from common.data.frame import IDLE_BATTERY
from common.data.synthetic import generate
from common.errors import InputError
from fl_client.trader import make_trader
from simulations.benchmarks.traders import foresights
from simulations.benchmarks.traders.command import app
from simulations.benchmarks.traders.community import Cap, halved, live
from simulations.benchmarks.traders.panels import with_panels
from tests.support.trading import community


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("days", [1, 7])
def test_plain_forecasts_read_known_days_only(lag: int, days: int) -> None:
    """Randomising every reading not yet known changes no forecast; the truth it does change."""
    c = community(2)
    row = c.first + 13
    other = replace(c, load=c.load.copy(), pv=c.pv.copy())
    other.load[:, row - lag :] = 9.0
    other.pv[:, row - lag :] = 9.0
    plain = [foresights.same_slots(x, days)(row, lag) for x in (c, other)]
    true = [foresights.truth(x)(row, lag) for x in (c, other)]
    assert plain[0] is not None
    assert plain[1] is not None
    assert np.array_equal(plain[0].load, plain[1].load)
    assert np.array_equal(plain[0].pv, plain[1].pv)
    assert not np.array_equal(true[0].load, true[1].load)


def test_same_slots_are_the_mean_of_the_days_before() -> None:
    """One day: yesterday's slot; with a lag of 1 the slot before now is taken a day earlier."""
    c = community(1)
    row = c.first + 5
    ahead = foresights.same_slots(c, 1)(row, 1)
    assert ahead is not None
    assert ahead.load[0, 0] == c.load[0, row - 48]
    assert ahead.load[0, 47] == c.load[0, row + 47 - 96]


def test_halves_hold_the_same_energy_and_are_known_no_earlier() -> None:
    """Energy and prices are the same; the second quarter of a half hour waits for its end."""
    c = community(2)
    fine = halved(c)
    assert fine.load.sum() == pytest.approx(c.load.sum())
    assert fine.intervals == 2 * c.intervals
    assert list(fine.lag[:4]) == [0, 1, 0, 1]
    assert fine.case.connection.limits(fine.hours)[0] == 5.0


def test_a_cap_is_kept_better_than_without() -> None:
    """A tariff that is cheap until four makes batteries fill at once; under a cap at 80 % of the
    peak without batteries fewer intervals lie above it, and fewer kWh."""
    c = community(6, days=3)
    trader = make_trader("bid-curve", {})
    peak = live(c, make_trader("hold", {})).peak_kw()
    cap = Cap(0.8 * peak, scarcity_price=0.6)
    free, capped = live(c, trader), live(c, trader, cap=cap)
    above = [np.maximum(life.grid_import.sum(axis=0) / 0.5 - cap.kw, 0) for life in (free, capped)]
    assert above[1].sum() < 0.5 * above[0].sum()
    assert (above[1] > 0).mean() <= (above[0] > 0).mean()
    assert capped.unserved.sum() == 0


def test_panels_are_for_homes_without() -> None:
    """Two of three homes get PV, none at night, and load is left alone."""
    homes = [
        replace(home, frame=home.frame.assign(pv=0.0))
        for home in (
            generate(f"H{i:04d}", seed=3, first=pd.Timestamp("2026-06-01", tz="UTC"), intervals=96)
            for i in range(1, 4)
        )
    ]
    found = [with_panels(home, i, 0) for i, home in enumerate(homes)]
    assert [bool((home.frame["pv"] > 0).any()) for home in found] == [True, True, False]
    night = pd.DatetimeIndex(homes[0].frame.index).hour < 2
    assert not found[0].frame["pv"][night].any()
    assert found[0].consumption == pytest.approx(homes[0].consumption)
    assert IDLE_BATTERY["battery_soc"] == found[0].frame["battery_soc"].iloc[0]


def test_the_command_writes_table_json_and_picture(tmp_path: Path) -> None:
    """Three rows on synthetic homes: hold is worth 0 % by definition, perfect beats own days, the
    optimum is below every cost, and nobody's energy is unserved."""
    out = tmp_path / "out"
    rows = "hold;bid-curve, own days;bid-curve, perfect"
    done = CliRunner().invoke(
        app,
        ["--out", str(out), "--data", "synthetic", "--households", "3", "--days", "2",
         "--history-days", "20", "--rows", rows],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads((out / "results.json").read_text())
    shares = {line["trader"]: line["share"] for line in found["table"]}
    assert shares["hold"] == pytest.approx(0, abs=1e-9)
    assert 0 < shares["bid-curve, own days"] < shares["bid-curve, perfect"] <= 1.000001
    optimum = next(iter(found["references"].values()))["community_optimum"]
    assert all(score["cost"] >= optimum - 1e-6 for score in found["scores"])
    assert not any(score["unserved_kwh"] for score in found["scores"])
    assert found["real"] is False
    assert found["speed"]["one_cpu_ms"] > 0
    assert (out / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--days", "0"], "--days"),
        (["--rows", "crystal ball"], "crystal ball"),
        (["--starts", "tomorrow"], "tomorrow"),
        (["--skip", "10"], "--skip"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--quarter-hours", "--rows", "rule, federated"], "--quarter-hours"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    """One line that names the flag or value, nothing written."""
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["--out", str(out), *arguments])
    assert isinstance(done.exception, InputError)
    assert named in str(done.exception)
    assert not out.exists()
