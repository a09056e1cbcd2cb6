"""When a run ends, and which round's model counts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.data.frame import APPLIANCES, Household
from common.errors import InputError
from simulations.benchmarks.strategies import checks
from simulations.benchmarks.strategies import homes as homes_module
from simulations.benchmarks.strategies.cell import run_cell
from simulations.benchmarks.strategies.command import app
from simulations.benchmarks.strategies.dials import Dial, read_dials
from simulations.benchmarks.strategies.homes import DAY, homes_of
from simulations.benchmarks.strategies.setup import Cell, Setup, entry_of
from simulations.benchmarks.strategies.stopping import Keeper

SETUP = Setup(
    "synthetic", households=3, rounds=6, local_steps=3, batch_size=8, train_days=10, test_days=2,
    timezone="Europe/Berlin", learning_rate=0.02, patience=2, check_days=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _homes_of_its_own() -> Iterator[None]:
    """Homes are built once a process, and some tests here change what they are built of."""
    homes_of.cache_clear()
    yield
    homes_of.cache_clear()


def rows_of(strategy: str, setup: Setup = SETUP, dial: Dial | None = None) -> pd.DataFrame:
    """The rows of one cell."""
    rows, _ = run_cell(Cell(entry_of(strategy), "clean", dial or Dial(), 0), setup)
    return pd.DataFrame(rows)


@given(st.lists(st.floats(0.0, 2.0), min_size=1, max_size=20), st.integers(1, 5))
def test_the_first_of_the_least_errors_is_kept(errors: list[float], patience: int) -> None:
    """Up to the round in which nothing has got better for ``patience`` rounds, and no further."""
    keeper: Keeper[int] = Keeper(patience)
    for round_, error in enumerate(errors):
        keeper.see(round_, error, round_)
        best = int(np.argmin(errors[: round_ + 1]))
        assert (keeper.round, keeper.state) == (best, best)
        assert keeper.over(round_) == (round_ - best >= patience)
        if keeper.over(round_):
            break


def test_untrained_is_what_everybody_starts_from() -> None:
    """In every round its errors are those of round 0 of FedAvg and of the trained references: no
    table can hide that training alone may end behind the first weights."""
    untrained = rows_of("untrained")
    assert set(untrained["round"]) == set(range(SETUP.rounds + 1))
    for name in ("fedavg", "local-only", "centralised"):
        rows = rows_of(name)
        first = rows[rows["round"] == 0].set_index("household")[["nrmse", "check_nrmse"]]
        last = rows[rows["round"] == SETUP.rounds].set_index("household")["nrmse"]
        for _, own in untrained.groupby("round"):
            pd.testing.assert_frame_equal(own.set_index("household")[first.columns], first)
        assert (last != first["nrmse"]).all()


def test_an_error_that_is_none_is_the_largest_and_rounds_before_a_change_do_not_count() -> None:
    """A model that diverges is not kept; one of before the homes changed is never kept after."""
    keeper: Keeper[str] = Keeper(2)
    for round_, error in enumerate([1.0, float("nan"), float("inf")]):
        keeper.see(round_, error, f"{round_}")
    assert (keeper.state, keeper.over(2)) == ("0", True)
    keeper = Keeper(2, since=3)
    for round_, error in enumerate([0.1, 0.2, 0.3, float("nan")]):
        keeper.see(round_, error, f"{round_}")
        assert not keeper.over(round_)
    assert keeper.state == "3"
    keeper.see(4, 0.9, "4")
    assert keeper.state == "4"


def test_without_patience_the_last_round_counts() -> None:
    """However bad it is, and it is never over."""
    keeper: Keeper[int] = Keeper(None)
    for round_, error in enumerate([0.1, 0.9, float("nan")]):
        keeper.see(round_, error, round_)
        assert not keeper.over(round_)
    assert keeper.round == 2


@pytest.mark.parametrize("strategy", ["fedavg", "centralised", "fedasync"])
def test_the_rows_of_the_end_are_those_of_the_round_kept(strategy: str) -> None:
    """That with the least mean error on the days to choose by, the first weights aside; the run is
    over where none was better for two rounds. At this rate all are past their best early."""
    rows = rows_of(strategy)
    ends = rows[rows["round"] == 6]
    [kept], [run] = ends["kept_round"].unique(), ends["rounds_run"].unique()
    assert run < 6
    others = rows[rows["round"] <= run]
    told = others[others["round"] > 0].groupby("round")["check_nrmse"].mean()
    assert kept == told.idxmin()
    assert run == kept + 2
    assert sorted(rows["round"].unique()) == list(range(7))
    values = ["nrmse", "mae", "bias", "check_nrmse"]
    best = others[others["round"] == kept].set_index("household")[values]
    for round_ in range(run + 1, 7):
        after = rows[rows["round"] == round_].set_index("household")[values]
        pd.testing.assert_frame_equal(after, best)


def test_each_home_alone_stops_by_itself() -> None:
    """Its rows of the end are those of its own best round."""
    rows = rows_of("local-only")
    for _, own in rows.groupby("household"):
        curve = own.set_index("round")
        end = curve.loc[6]
        assert end["kept_round"] == curve.loc[1:, "check_nrmse"].idxmin()
        assert end["nrmse"] == curve.loc[end["kept_round"], "nrmse"]
        after = curve.loc[end["rounds_run"] + 1 :]
        for column in ("nrmse", "kept_round", "rounds_run"):
            assert (after[column] == end[column]).all()


def test_where_nobody_can_go_by_errors_all_rounds_are_run() -> None:
    """The last model counts: without days to choose by, where attackers tell errors, and where
    private homes tell none."""
    plain = rows_of("fedavg", replace(SETUP, check_days=0))
    attacked = rows_of("fedavg", dial=Dial(attack="sign-flip", attackers=0.34))
    private = rows_of("fedavg", dial=Dial(privacy_clip=0.3, privacy_noise=3.0))
    for rows in (plain, attacked, private):
        ends = rows[rows["round"] == 6]
        assert set(ends["kept_round"]) == set(ends["rounds_run"]) == {6}
        assert sorted(rows["round"].unique()) == list(range(7))


def test_a_home_without_days_to_choose_by_stops_with_the_others() -> None:
    """A newcomer of three days trains on all it has; alone it keeps the median round of the
    others."""
    dial = Dial(newcomer_share=0.34, newcomer_days=3)
    rows = rows_of("local-only", dial=dial)
    ends = rows[rows["round"] == 6].set_index("household")
    [new] = ends.index[ends["newcomer"]]
    others = sorted(ends["kept_round"].drop(new))
    assert np.isnan(ends.loc[new, "check_nrmse"])
    assert ends.loc[new, "kept_round"] == others[len(others) // 2]
    assert np.isfinite(ends["nrmse"]).all()


def test_runs_that_end_so_are_not_beside_those_that_cannot(tmp_path: Path) -> None:
    """Half trained and overtrained models would be compared: a grid with an attack has all its
    rounds in every cell, and days to choose by are refused there."""
    dials = read_dials({"clean": {}, "bad": {"attack": "sign-flip", "attackers": 0.5}})
    jobs = [([entry_of("fedavg")], dials)]
    with pytest.raises(InputError, match="--check-days 3"):
        checks.check(jobs, SETUP)
    checks.check(jobs, replace(SETUP, check_days=0))
    (tmp_path / "dials.yaml").write_text("clean: {}\nbad: {attack: nan, attackers: 0.5}\n")
    found = CliRunner().invoke(
        app,
        f"--out {tmp_path / 'out'} --dials {tmp_path / 'dials.yaml'} --strategies fedavg --data "
        "synthetic --households 2 --rounds 1 --seeds 1 --local-steps 1 --train-days 9 "
        "--test-days 1 --workers 1".split(),
    )
    assert found.exit_code == 0, found.output
    assert "all its rounds" in found.output
    assert json.loads((tmp_path / "out" / "grid.json").read_text())["setup"]["check_days"] == 0


@pytest.mark.parametrize("check_days", [0, 7])
@pytest.mark.parametrize("days", range(2, 15))
def test_who_has_just_begun_has_windows_to_train_on(days: int, check_days: int) -> None:
    """From the second day on; some of its days to choose by from four on."""
    dial = Dial(newcomer_share=1.0, newcomer_days=days)
    zone = "Europe/Berlin"
    built = homes_of("synthetic", 1, zone, "slot-small", 20, 2, dial, 0, 0, check_days)
    phase = built[0].before
    assert len(phase.train) > 0
    assert len(phase.check_actual) == min(check_days, days // 4)


def test_a_home_that_uses_nothing_on_those_days_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error relative to no load would be infinite in every round, for all."""
    plain = homes_module.households_of

    def households(*args: object) -> list[Household]:
        first, *others = plain(*args)  # type: ignore[arg-type]
        frame = first.frame.copy()
        cut = homes_module.span_of(first, 0, 13, 2).cut
        places = frame.columns.get_indexer(list(APPLIANCES))
        frame.iloc[cut - 3 * DAY : cut, places] = 0.0
        return [Household(**{**first.__dict__, "frame": frame}), *others]

    monkeypatch.setattr(homes_module, "households_of", households)
    rows = rows_of("centralised")
    told = rows.groupby("household")["check_nrmse"].apply(lambda own: np.isnan(own).all())
    assert told.tolist() == [True, False, False]
    assert np.isfinite(rows["nrmse"]).all()


def test_days_to_choose_by_lie_between_and_nothing_held_out_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training ends where they begin, they end where the held-out days begin. What comes after the
    beginning of each is of no effect on what is trained on, and on what is chosen by."""

    def built() -> tuple[homes_module.Home, int, Household]:
        homes_of.cache_clear()
        [home, *_] = homes_of("synthetic", 3, "Europe/Berlin", "slot-small", 10, 2, Dial(), 0, 0, 3)
        [one, *_] = homes_module.households_of("synthetic", 3, 10 + 3 + 2 + 120, "Europe/Berlin")
        return home, homes_module.span_of(one, 0, 13, 2).cut, one

    home, cut, one = built()
    phase = home.before
    load = one.consumption
    at = [cut - 3 * DAY + DAY * day for day in range(3)]
    assert phase.check_actual == pytest.approx(np.stack([load[r : r + DAY] for r in at]))
    assert phase.actual == pytest.approx(
        np.stack([load[cut + DAY * d : cut + DAY * (d + 1)] for d in range(2)])
    )
    plain = homes_module.households_of

    def spoilt_from(row: int) -> None:
        def households(*args: object) -> list[Household]:
            found = []
            for household in plain(*args):  # type: ignore[arg-type]
                frame = household.frame.copy()
                frame.iloc[row:, frame.columns.get_indexer(list(APPLIANCES))] *= 1.5
                found.append(Household(**{**household.__dict__, "frame": frame}))
            return found

        monkeypatch.setattr(homes_module, "households_of", households)

    def trained(home: homes_module.Home) -> list[np.ndarray]:
        windows = home.before.train
        batch = windows.batch(np.arange(len(windows)))
        return [*batch.inputs.values(), *batch.targets.values(), *batch.weights.values()]

    spoilt_from(cut)
    after, _, _ = built()
    assert after.before.check is not None
    assert phase.check is not None
    for name, value in phase.check.inputs.items():
        np.testing.assert_array_equal(value, after.before.check.inputs[name])
    np.testing.assert_array_equal(phase.check_actual, after.before.check_actual)
    for a, b in zip(trained(home), trained(after), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(phase.actual, after.before.actual)
    spoilt_from(cut - 3 * DAY)
    before, _, _ = built()
    for a, b in zip(trained(home), trained(before), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(phase.check_actual, before.before.check_actual)
