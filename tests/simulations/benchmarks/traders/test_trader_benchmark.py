"""The trader benchmark: forecasts read what is known; the command writes what it says."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from common.arrays import Floats
from common.config import load
from common.data.frame import COLUMNS, IDLE_BATTERY
from common.data.synthetic import generate
from fl_client.deciding import DayAhead
from fl_client.household import Group
from simulations.benchmarks.traders import foresights
from simulations.benchmarks.traders.command import app
from simulations.benchmarks.traders.life import Foresee
from simulations.benchmarks.traders.paired import Gain, gain
from simulations.benchmarks.traders.panels import with_panels
from simulations.benchmarks.traders.run import Days, Score
from simulations.simulate import simulate
from simulations.summary import summarise
from tests.support.commands import refused
from tests.support.homes import home

MISC, PV = COLUMNS.index("misc"), COLUMNS.index("pv")
THREE = [
    "data.source=synthetic", "run.households=3", "run.start=2026-06-01", "run.history_days=20",
]  # fmt: skip


class Two:
    """Two homes with ten days of history and two of a run, as a benchmark's forecasts see them."""

    def __init__(self, spoilt_from: int | None = None) -> None:
        self.histories = [home(12, seed=h, timezone="UTC") for h in range(2)]
        for one in self.histories:
            one.values[:, PV] = np.arange(len(one)) / len(one)
            if spoilt_from is not None:
                one.values[spoilt_from:, [MISC, PV]] = 9.0

    def measured(self, h: int) -> tuple[Floats, Floats]:
        values = self.histories[h].values
        return values[:, MISC], values[:, PV]


def asked(foresee: Foresee, two: Two, row: int, lag: int) -> DayAhead:
    """What the homes are told when row ``row`` is decided."""
    unknown = len(two.histories[0]) - row + lag
    told = foresee(cast(Group, two))(np.arange(2), unknown, lag)
    assert told is not None
    return told


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("days", [1, 7])
def test_plain_forecasts_read_known_days_only(lag: int, days: int) -> None:
    """Changing every reading not yet known changes no plain forecast; the truth it does change."""
    row = 10 * 48 + 13
    both = Two(), Two(spoilt_from=row - lag)
    plain = [asked(foresights.same_slots(days), two, row, lag) for two in both]
    true = [asked(foresights.truth, two, row, lag) for two in both]
    assert plain[0].production is not None
    assert plain[1].production is not None
    assert np.array_equal(plain[0].consumption, plain[1].consumption)
    assert np.array_equal(plain[0].production, plain[1].production)
    assert not np.array_equal(true[0].consumption, true[1].consumption)


def test_same_slots_are_the_mean_of_the_days_before() -> None:
    """One day: yesterday's slot; with a lag of 1 the slot before now is taken a day earlier. The
    truth is the coming rows, the present one first."""
    two, row = Two(), 10 * 48 + 5
    load, _ = two.measured(0)
    told = asked(foresights.same_slots(1), two, row, 1)
    assert told.consumption[0, 0] == load[row - 48]
    assert told.consumption[0, 47] == load[row + 47 - 96]
    week = asked(foresights.same_slots(7), two, row, 0).consumption[0, 3]
    assert week == pytest.approx(load[row + 3 - 48 * np.arange(1, 8)].mean())
    assert np.array_equal(asked(foresights.truth, two, row, 0).consumption[0], load[row : row + 48])


@pytest.fixture(scope="module")
def three() -> Iterator[Days]:
    """Three synthetic homes, two days of June."""
    days = Days([*THREE, "run.days=2"], cap=0.8)
    yield days
    days.close()


def test_rows_are_what_they_say(three: Days) -> None:
    """Trade makes the community pay less than the same traders alone, and these less than greedy
    batteries; the weeks of the homes sum to what all pay, stored energy at the mean price; higher
    scores earn more, the highest quarter more than a tenth of a cent."""
    own, greedy = three.score("bid-curve, own days"), three.score("greedy")
    assert own.cost < greedy.cost < three.references["no_battery_no_trade"]
    assert own.share_of_optimum == pytest.approx(
        (three.references["no_battery_no_trade"] - own.cost) / three.saving
    )
    assert greedy.traded_kwh == 0 < own.traded_kwh
    assert sum(map(sum, own.weekly.values())) == pytest.approx(own.cost, abs=0.1 * three.saving)
    assert own.calibration is not None
    assert own.calibration[0] < own.calibration[-1]
    assert own.calibration[-1] > 0.001
    assert greedy.calibration is None
    assert own.unserved_kwh == 0


def test_a_cap_is_kept_better_than_without() -> None:
    """A cap at the peak without batteries, which batteries pass in winter where nothing keeps them,
    filling when the tariff is cheap: under it the community's peak is lower, and the capped optimum
    is told."""
    winter = [pair.replace("2026-06", "2026-01") for pair in THREE]
    days = Days([*winter, "run.days=2"], cap=1.0)
    free, capped = days.score("bid-curve, own days"), days.score("bid-curve, capped")
    assert free.peak_kw > days.cap_kw
    assert capped.peak_kw < free.peak_kw
    assert capped.over_cap is not None
    assert days.references["capped_optimum"] is not None
    days.close()


def test_no_result_hangs_on_the_step(three: Days) -> None:
    """The same two days in quarter hours cost within 2 % of what they cost without a battery."""
    fine = Days([*THREE, "run.days=2", "run.interval_minutes=15"], cap=0.8)
    coarse = three.score("bid-curve, own days")
    base = three.references["no_battery_no_trade"]
    assert abs(fine.score("bid-curve, own days").cost - coarse.cost) < 0.02 * abs(base)
    fine.close()


def test_a_row_that_learns_is_the_run_by_default(three: Days) -> None:
    """``bid-curve, federated`` costs to the last bit what a run of the default settings does."""
    settings = load(None, [*THREE, "run.days=0.5", "run.engine=loop", "model.preset=slot-small"])
    with tempfile.TemporaryDirectory() as folder:
        simulate(settings, Path(folder))
        default = summarise(Path(folder), settings, 0.0)["cost"]
    days = Days([*THREE, "run.days=0.5", "model.preset=slot-small"], cap=0.8)
    assert days.score("bid-curve, federated").cost == cast(dict[str, float], default)["community"]
    days.close()


def test_gains_are_paired_by_home_and_week() -> None:
    """By hand: two homes, two weeks, one row 1 cheaper in each of the four, the optimum saving 50:
    8 points, and no doubt about them; a row against itself: none, and none."""
    base = scored("base", {"a": (1.0, 2.0), "b": (3.0, 4.0)})
    row = scored("row", {"a": (0.0, 1.0), "b": (2.0, 3.0)})
    found = gain([base, row], "row", "base", {("2026-06-01", 0): 50.0})
    assert found == Gain("row", "base", *[pytest.approx(8.0)] * 3, homes=2, weeks=2)
    same = gain([base, row], "base", "base", {("2026-06-01", 0): 50.0})
    assert (same.points, same.low, same.high) == (0, 0, 0)


def scored(row: str, weekly: dict[str, tuple[float, ...]]) -> Score:
    unknown = {field.name: None for field in fields(Score)}
    told: Any = unknown | {"row": row, "start": "2026-06-01", "seed": 0, "weekly": weekly}
    return Score(**told)


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
    """Three rows on synthetic homes: hold is worth 0 % by definition (to the ledger's rounding),
    perfect beats own days, the optimum is below every cost, and nobody's energy is unserved."""
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
    assert shares["hold"] == pytest.approx(0, abs=1e-5)
    assert 0 < shares["bid-curve, own days"] < shares["bid-curve, perfect"] <= 1.000001
    optimum = next(iter(found["references"].values()))["community_optimum"]
    assert all(score["cost"] >= optimum - 1e-6 for score in found["scores"])
    assert not any(score["unserved_kwh"] for score in found["scores"])
    assert found["real"] is False
    assert [one["row"] for one in found["gains"]] == ["bid-curve, perfect"]
    assert (out / "picture.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--days", "0"], "--days"),
        (["--rows", "crystal ball"], "crystal ball"),
        (["--starts", "tomorrow"], "tomorrow"),
        (["--skip", "10"], "--skip"),
        (["--data", "/nowhere"], "/nowhere"),
        (
            [
                *("--data", "synthetic", "--households", "1", "--days", "1"),
                *("--starts", "2026-06-01", "--set", "battery.capacity_kwh=0"),
            ],
            "2026-06-01: even perfect foresight saves nothing",
        ),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    """One line that names the flag or value, nothing written."""
    out = tmp_path / "out"
    assert named in refused(app, "--out", str(out), *arguments)
    assert not out.exists()
