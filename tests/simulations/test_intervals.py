"""Runs of every interval length: the same days cost the same, and nobody looks ahead."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.cadence import Cadence
from common.config import Settings, load
from common.data.frame import Household
from common.data.store import write_household
from common.data.synthetic import generate, names
from fl_server.bills import bill
from fl_server.coordinator import Answers, Coordinator
from fl_server.ledger import Ledger
from simulations.report.report import write_report
from simulations.simulate import simulate

HISTORY_DAYS = 9
START = pd.Timestamp("2023-05-01", tz="Europe/London").tz_convert("UTC")
RUN = START + pd.Timedelta(days=HISTORY_DAYS)
HOURLY = Cadence(60)


def settings(homes: Path, minutes: int, *override: str, days: float = 1.0) -> Settings:
    return load(
        None,
        [
            f"data.source={homes}", "run.households=3", f"run.days={days}", "run.engine=loop",
            f"run.history_days={HISTORY_DAYS}", f"run.interval_minutes={minutes}",
            "model.preset=slot-small", "fl.local_steps=1", "fl.every_hours=6",
            "run.checkpoint_hours=6", *override,
        ],
    )  # fmt: skip


def made(folder: Path, change: Callable[[Household], Household]) -> Path:
    """Three homes of 12 days, each changed."""
    for name in names(3):
        write_household(change(generate(name, seed=3, first=START, intervals=12 * 48)), folder)
    return folder


def even(stored: int, over: int) -> Callable[[Household], Household]:
    """Rows of ``stored`` minutes, told every so many, even over each ``over`` minutes."""

    def change(home: Household) -> Household:
        flat = home.at(Cadence(over), START) if over > 30 else home
        return replace(flat.at(Cadence(stored), START), resolution_minutes=stored)

    return change


def cost(directory: Path) -> float:
    return float(json.loads((directory / "summary.json").read_text())["cost"]["community"])


@pytest.mark.parametrize("kind", ["hold", "greedy"])
@pytest.mark.parametrize(("minutes", "over"), [(5, 30), (15, 30), (60, 60)])
def test_even_days_cost_the_same_at_every_interval(
    tmp_path: Path, run: Callable[[Settings], Path], kind: str, minutes: int, over: int
) -> None:
    """Where power is even within the longer interval, a home without a plan pays to a rounding of
    each reading what it pays at half hours: battery, connection, prices and books scale."""
    homes = made(tmp_path, even(min(minutes, 30), over))
    same = [
        run(settings(homes, m, f"trader.kind={kind}", "fl.enabled=false")) for m in (minutes, 30)
    ]
    books = [json.loads((one / "summary.json").read_text()) for one in same]
    for book in books:
        assert book["checks"]["limit_violations"] == book["checks"]["faults"] == 0
        assert book["checks"]["energy_residual_kwh_max"] < 1e-6
        assert book["checks"]["money_residual_max"] == 0.0
    # Each interval, household and side is rounded once, by half a millionth at most.
    roundings = 3 * 2 * 1440 * (1 / minutes + 1 / 30)
    assert abs(cost(same[0]) - cost(same[1])) <= 0.5e-6 * roundings
    for name in ("grid_import_kwh", "grid_export_kwh", "load_kwh", "pv_kwh"):
        assert books[0]["energy"][name] == pytest.approx(books[1]["energy"][name], abs=1e-3)
    for name in ("no_battery_no_trade", "greedy_battery"):
        assert books[0]["cost"][name] == pytest.approx(books[1]["cost"][name], abs=1e-6)
    # Shorter intervals can do what longer ones do.
    assert books[0]["cost"]["own_optimum"] == pytest.approx(
        books[1]["cost"]["own_optimum"], rel=2e-3
    )


@pytest.mark.parametrize("minutes", [5, 15])
def test_quarter_hours_trade_no_worse(
    tmp_path: Path, run: Callable[[Settings], Path], minutes: int
) -> None:
    """The default trader with its model: on days even within half hours shorter intervals cost at
    most 1 % more; the first part of a half hour tells of the rest, so they may cost less."""
    homes = made(tmp_path, even(minutes, 30))
    short, half = (run(settings(homes, m)) for m in (minutes, 30))
    assert cost(short) <= 1.01 * cost(half)


def test_a_cap_in_kw_is_the_same_cap_at_every_interval(
    tmp_path: Path, run: Callable[[Settings], Path]
) -> None:
    """Homes without a battery beyond a cap of 1 kW pay to rounding the same surcharges, and the
    community is above it for as long."""
    homes = made(tmp_path, even(15, 30))
    options = (
        "trader.kind=hold", "battery.capacity_kwh=0", "fl.enabled=false", "market.import_cap_kw=1",
        "run.references=none",
    )  # fmt: skip
    done = [run(settings(homes, m, *options)) for m in (15, 30)]
    quarter, half = (json.loads((one / "summary.json").read_text()) for one in done)
    assert half["cap"]["intervals_above"] > 0
    assert quarter["cap"]["intervals_above"] == 2 * half["cap"]["intervals_above"]
    for name in ("mean_above_kw", "highest_above_kw", "surcharged", "beyond_allowance_kwh"):
        assert quarter["cap"][name] == pytest.approx(half["cap"][name], abs=1e-3)
    pages = [write_report(one).read_text() for one in done]
    assert "Quarter hours above" in pages[0]
    assert "Half hours above" in pages[1]


# ---- no look into the future --------------------------------------------------------------------


def told(tmp_path: Path, minutes: int, source: int, changed_from: pd.Timestamp) -> Path:
    """Homes whose meters tell every ``source`` minutes, in rows of at most half an hour; what they
    use and make from ``changed_from`` on is quite another."""

    def change(home: Household) -> Household:
        rows = home.at(Cadence(source), START).at(Cadence(min(source, 30)), START)
        frame = rows.frame.copy()
        draw = np.random.default_rng(len(frame))
        # Uneven within the interval, even within what the meter tells.
        shape = np.repeat(draw.uniform(0.2, 2.0, len(frame)), max(source // 30, 1))[: len(frame)]
        frame["misc"] *= shape
        later = frame.index >= changed_from
        frame.loc[later, "misc"] = frame.loc[later, "misc"] * 0.1 + 0.3 * source / 60
        frame.loc[later, "pv"] *= 0.2
        return replace(rows, frame=frame, resolution_minutes=source)

    return made(tmp_path / f"{changed_from:%H%M}", change)


@pytest.mark.parametrize("source", [5, 15, 30, 60])
@pytest.mark.parametrize("minutes", [5, 15, 30, 60])
def test_no_decision_knows_a_reading_before_it_is_over(
    tmp_path: Path, minutes: int, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meters coarser and finer than the interval. Two communities are the same until a reading
    that begins at 07:00 or soon after: every order of an interval that begins before this reading
    is over is the same, models and rounds included, and within the half hour after it, in which
    models count, there is another.

    Homes have no battery, whose charge would tell what the house is using."""
    begin = RUN + pd.Timedelta(hours=7, minutes=0 if source >= 15 else 25)
    over = begin + pd.Timedelta(minutes=source)
    kept: list[dict[int, Answers]] = []
    decide = Coordinator.interval

    def seen(self: Coordinator, t: int) -> Answers:
        kept[-1][t] = decide(self, t)
        return kept[-1][t]

    monkeypatch.setattr(Coordinator, "interval", seen)
    for change in (begin, RUN + pd.Timedelta(days=2)):
        kept.append({})
        homes = told(tmp_path, minutes, source, change)
        out = tmp_path / f"run {change:%d%H}"
        out.mkdir()
        options = ("battery.capacity_kwh=0", "fl.every_hours=2", "run.checkpoint_hours=12")
        simulate(settings(homes, minutes, *options, days=0.5), out)
    step = Cadence(minutes).step
    same = [
        all(np.array_equal(kept[0][t].orders[h], kept[1][t].orders[h]) for h in kept[0][t].orders)
        for t in sorted(kept[0])
    ]
    first = next(t for t in range(len(same)) if RUN + t * step >= over)
    assert all(same[:first])
    assert not all(same[first : first + max(30 // minutes, 1)])


# ---- the rest of a run --------------------------------------------------------------------------


def test_a_killed_run_of_quarter_hours_goes_on_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a half hour after a checkpoint in the middle of another, it books
    what the straight run books."""
    homes = made(tmp_path / "homes", even(15, 30))
    one = settings(homes, 15, "run.checkpoint_hours=2.25", "fl.every_hours=1.25", days=0.5)
    ahead = Coordinator.interval

    def killed(self: Coordinator, t: int) -> Answers:
        if t == 31:
            raise KeyboardInterrupt
        return ahead(self, t)

    rows = []
    for name in ("straight", "resumed"):
        out = tmp_path / name
        out.mkdir()
        if name == "resumed":
            with monkeypatch.context() as patch:
                patch.setattr(Coordinator, "interval", killed)
                with pytest.raises(KeyboardInterrupt):
                    simulate(one, out)
        simulate(one, out)
        with Ledger(f"sqlite:///{out / 'ledger.sqlite'}") as ledger:
            ledger.attach()
            assert ledger.verify().ok
            rows.append([tuple(row) for row in ledger.rows()])
            lines = bill(ledger, one.digest(), names(3)[0], by="interval").lines
        times = pd.to_datetime(list(lines.index), utc=True)
        # Intervals of which nothing was booked have no line.
        assert set(times) <= set(pd.date_range(RUN, periods=48, freq="15min"))
        assert {time.minute for time in times} == {0, 15, 30, 45}
    assert rows[0] == rows[1]


def test_a_ledger_keeps_to_its_intervals(tmp_path: Path) -> None:
    """A run of quarter hours is not gone on with at half hours; its hash says which it is."""
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    with Ledger(url) as ledger:
        ledger.open_run("r", names(2), start=RUN.isoformat(), interval_minutes=15)
        assert ledger.cadence == Cadence(15)
        quarter = ledger.head
    with Ledger(url) as ledger, pytest.raises(Exception, match="intervals of 15 minutes, not 30"):
        ledger.open_run("r", names(2), start=RUN.isoformat())
    with Ledger(f"sqlite:///{tmp_path / 'other.sqlite'}") as ledger:
        ledger.open_run("r", names(2), start=RUN.isoformat())
        assert ledger.head != quarter
