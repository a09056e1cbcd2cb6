"""A whole run: its books balance, its seed fixes it, and it never looks ahead."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.config import Settings
from common.data.frame import APPLIANCES
from common.data.store import household_files, read_household, write_household
from fl_server.ledger import Ledger
from simulations.simulate import stored_settings
from tests.support.reading import intervals, ledger_rows, model, summary
from tests.support.runs import HISTORY_DAYS, small

Run = Callable[[Settings], Path]

PUBLIC = ("local_price", "marginal_buy", "marginal_sell", "sent_kwh", "orders")
"""What an interval's line tells of its orders."""


def test_energy_balances_in_every_household_and_interval(finished: Path) -> None:
    """The net balance holds to 1e-9 kWh, recomputed here from each household's own file."""
    names = sorted(p.name for p in (finished / "households").iterdir() if p.name[0] != ".")
    assert len(names) == 3
    for name in names:
        rows = intervals(finished, name)
        assert len(rows) == 48
        for r in rows:
            came = r["pv"] - r["curtailed"] + r["discharge"] + r["bought"] + r["grid_import"]
            went = r["load"] - r["unserved"] + r["charge"] + r["sold"] + r["grid_export"]
            assert came == pytest.approx(went, abs=1e-9)


def test_what_households_saw_is_what_the_ledger_booked(finished: Path) -> None:
    """Bought, sold and paid agree with the household's own file, to a rounded mWh or micro each."""
    settings = stored_settings(finished)
    reports = json.loads((finished / "reports.json").read_text())
    names = sorted(reports["households"])
    with Ledger(f"sqlite:///{finished / 'ledger.sqlite'}") as ledger:
        ledger.open_run(settings.digest(), names, start=reports["start"])
        verdict, balances = ledger.verify(), ledger.balances()
    assert verdict.error is None
    assert sum(energy for energy, _ in balances.values()) == 0
    assert sum(money for _, money in balances.values()) == 0
    for name in names:
        rows = intervals(finished, name)
        energy = sum(r["bought"] + r["grid_import"] - r["sold"] - r["grid_export"] for r in rows)
        assert balances[name][0] / 1e6 == pytest.approx(energy, abs=48 * 1e-6)
        assert -balances[name][1] / 1e6 == pytest.approx(
            sum(r["cost"] for r in rows), abs=48 * 2e-6
        )


def test_trades_happened_and_checks_are_clean(finished: Path) -> None:
    """Otherwise the balances above would be those of an empty market."""
    found = summary(finished)
    assert found["energy"]["p2p_delivered_kwh"] > 0
    assert found["energy"]["p2p_delivered_kwh"] == pytest.approx(
        0.95 * found["energy"]["p2p_sent_kwh"], rel=1e-4
    )
    checks = found["checks"]
    assert checks["energy_residual_kwh_max"] <= 1e-6
    assert checks["money_residual_max"] == 0
    assert checks["limit_violations"] == 0
    assert checks["faults"] == 0


def test_the_optimum_bounds_the_run(finished: Path) -> None:
    """No run beats perfect foresight; the references are in their order."""
    cost = summary(finished)["cost"]
    assert cost["community_optimum"] <= cost["own_optimum"] + 1e-6
    assert cost["own_optimum"] <= cost["greedy_battery"] + 1e-6
    assert cost["own_optimum"] <= cost["no_battery_no_trade"] + 1e-6
    assert cost["community_optimum"] <= cost["community"] + 1e-6


def test_model_rounds_ran_and_were_counted(finished: Path) -> None:
    """A round every twelve intervals, all households' bytes counted, none dropped or missed."""
    lines = [json.loads(line) for line in (finished / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4]
    assert all(line["replies"] == 3 and line["dropped"] == 0 == line["unreached"] for line in lines)
    size = len(model(finished))
    assert all(abs(line["bytes_up"] - 3 * size) < 0.05 * 3 * size for line in lines)
    assert all(np.isfinite(line["val_loss"]) for line in lines)


def test_same_seed_same_bytes(finished: Path, homes: Path, run: Run) -> None:
    """Ledger row by row with its hashes, summary without timing, model byte by byte."""
    again = run(small(homes))
    assert ledger_rows(again) == ledger_rows(finished)
    assert summary(again) == summary(finished)
    assert model(again) == model(finished)


def test_another_seed_is_another_run(finished: Path, homes: Path, run: Run) -> None:
    """The comparison above is able to fail."""
    other = run(small(homes, "run.seed=1"))
    assert model(other) != model(finished)


def _with_noise_from(homes: Path, out: Path, interval: int) -> Path:
    """The same homes, every reading from ``interval`` of the run on replaced by noise."""
    rng = np.random.default_rng(0)
    for file in household_files(homes):
        home = read_household(file)
        frame = home.frame.copy()
        row = HISTORY_DAYS * 48 + interval
        for column in (*APPLIANCES, "pv", "temperature", "solar_irradiance"):
            frame.iloc[row:, frame.columns.get_loc(column)] = rng.random(len(frame) - row) * 3
        write_household(
            type(home)(
                **{
                    **{k: getattr(home, k) for k in home.__dataclass_fields__},
                    "frame": frame,
                }
            ),
            out,
        )
    return out


@pytest.mark.parametrize("trader", ["bid-curve", "rule"])
def test_nothing_is_known_before_it_is_over(
    trader: str, homes: Path, tmp_path: Path, run: Run
) -> None:
    """Replacing all readings from interval 20 on by noise changes no order up to interval 20.

    Orders of interval 20 are decided when interval 19 is over, so their fills are the same to
    the last bit, and so is the model of the first round, which saw intervals 0 to 10.
    """
    settings = f"trader.kind={trader}"
    truth = run(small(homes, settings))
    noise = run(small(_with_noise_from(homes, tmp_path, 20), settings))

    def fills(directory: Path) -> list[object]:
        lines = (directory / "intervals.jsonl").read_text().splitlines()
        return [[json.loads(line)[key] for key in PUBLIC] for line in lines]

    def losses(directory: Path) -> list[object]:
        lines = (directory / "rounds.jsonl").read_text().splitlines()
        return [[json.loads(line)[key] for key in ("train_loss", "val_loss")] for line in lines]

    assert fills(truth)[:21] == fills(noise)[:21]
    assert losses(truth)[:1] == losses(noise)[:1]
    assert losses(truth) != losses(noise)
    name = sorted(p.name for p in (truth / "households").iterdir() if p.name[0] != ".")[0]
    scores = [[r["score"] for r in intervals(d, name)] for d in (truth, noise)]
    assert scores[0][:21] == scores[1][:21]
    assert scores[0] != scores[1]


def test_hourly_readings_are_not_known_in_mid_hour(homes: Path, tmp_path: Path, run: Run) -> None:
    """With hourly data, noise from interval 18 on changes no order of interval 19.

    Interval 19 is the second half of the hour that 18 begins: when 19 is decided the meter has
    told neither half. The homes have no battery here, for a battery answers the real load at once
    and its state of charge, which its owner can see, would tell a little of it.
    """
    from dataclasses import replace

    hourly, noisy = tmp_path / "hourly", tmp_path / "noisy"
    for file in household_files(homes):
        write_household(replace(read_household(file), resolution_minutes=60), hourly)
    _with_noise_from(hourly, noisy, 18)
    orders = []
    for folder in (hourly, noisy):
        directory = run(small(folder, "battery.capacity_kwh=0"))
        lines = (directory / "intervals.jsonl").read_text().splitlines()
        orders.append([[json.loads(line)[key] for key in PUBLIC] for line in lines])
    assert orders[0][:20] == orders[1][:20]
    assert orders[0] != orders[1]
