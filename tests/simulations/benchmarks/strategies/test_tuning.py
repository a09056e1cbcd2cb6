"""Tuning: as many trials for all, on days before the held-out ones, the same however it is run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from common.data.frame import Household
from common.errors import InputError
from simulations.benchmarks.strategies import grid, homes, tuning
from simulations.benchmarks.strategies.command import app
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.setup import Setup, entry_of, options_of
from simulations.benchmarks.strategies.spaces import OWN, Range, space_of, with_values

SETUP = Setup("synthetic", households=3, rounds=3, local_steps=1, batch_size=4, train_days=12,
              test_days=2)  # fmt: skip
SEEDS = 3


def test_rungs_shorten_by_thirds() -> None:
    """9 trials of 18 rounds: 9 for 2 rounds, 3 for 6, 1 for 18. Fewer than three: one rung. Where a
    third is less than a round, each is a round longer; two as long would say the same twice."""
    assert tuning.rungs(9, 18) == [(9, 2), (3, 6), (1, 18)]
    assert tuning.rungs(27, 8) == [(27, 1), (9, 2), (3, 3), (1, 8)]
    assert tuning.rungs(9, 4) == [(9, 1), (3, 2), (1, 4)]
    assert tuning.rungs(9, 2) == [(9, 1), (3, 2)]
    assert tuning.rungs(2, 5) == [(2, 5)]


def test_trials_are_drawn_by_strategy_and_number() -> None:
    """The first is as given; more of them begin with the same; what is given stays as it is."""
    entry = entry_of("fedprox(local_steps=2)")
    four = tuning.trials_of(entry, SETUP, 4)
    assert four[0] == entry
    assert tuning.trials_of(entry, SETUP, 6)[:4] == four
    assert {one.local_steps for one in four} == {2}
    assert len({one.learning_rate for one in four}) == 4
    assert all("proximal_mu" in options_of(one, 3) for one in four[1:])
    assert all("learning_rate" not in options_of(one, 3) for one in four)
    for one in four:
        assert entry_of(one.text) == one, "what is written down is what is tried"


@pytest.mark.parametrize("name", ["fedavg", *OWN])
def test_whatever_is_drawn_can_be_built(name: str) -> None:
    """Twenty trials of every strategy that has options of its own."""
    from simulations.benchmarks.strategies.setup import check

    for one in tuning.trials_of(entry_of(name), SETUP, 20):
        check(one, 11)
        assert one.local_steps is None or 1 <= one.local_steps <= 4


def test_ranges_keep_to_their_bounds() -> None:
    """Whole numbers come whole, both ends among them."""
    rng = np.random.default_rng(1)
    assert {Range(2, 4, whole=True).draw(rng) for _ in range(50)} == {2, 3, 4}
    assert {Range(1, 4, log=True, whole=True).draw(rng) for _ in range(200)} == {1, 2, 3, 4}
    drawn = [float(Range(1e-3, 10.0, log=True).draw(rng)) for _ in range(300)]
    assert min(drawn) >= 1e-3
    assert max(drawn) <= 10.0
    assert 0.03 < float(np.median(drawn)) < 0.3, "half of it lies below the geometric mean, 0.1"
    assert list(space_of(entry_of("fedavg(learning_rate=0.1)"), SETUP)) == ["local_steps"]
    assert with_values(entry_of("fedavg"), {}) == entry_of("fedavg")


def test_days_to_choose_by_lie_before_every_held_out_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all seeds. And readings from the first held-out day on are not looked at: made up anew,
    they change nothing."""
    [one] = homes.households_of("synthetic", 1, 12 + 2 + 120, None)
    cut = min(homes.span_of(one, seed, 12, 2).cut for seed in range(SEEDS))
    span = homes.span_of(one, 1, 12, 2, before_seeds=SEEDS)
    assert (span.cut, span.end) == (cut - 2 * homes.DAY, cut)
    assert span == homes.span_of(one, 2, 12, 2, before_seeds=SEEDS)

    def made() -> homes.Home:
        [home] = homes.homes_of.__wrapped__(
            "synthetic", 1, None, "slot-small", 12, 2, Dial(drift_share=1.0), 0, SEEDS
        )
        return home

    before = made()
    frame = one.frame.copy()
    frame.iloc[cut:, frame.columns.get_indexer(["misc", "price", "temperature"])] = 7.0
    assert cut < len(frame)

    def scribbled(*_: object) -> list[Household]:
        return [replace(one, frame=frame)]

    monkeypatch.setattr(homes, "households_of", scribbled)
    after = made()
    np.testing.assert_array_equal(before.before.actual, after.before.actual)
    which = np.arange(len(before.before.train))
    for phase in ("before", "after"):
        first, second = getattr(before, phase), getattr(after, phase)
        for name, value in first.test.inputs.items():
            np.testing.assert_array_equal(value, second.test.inputs[name])
        one_batch, other = first.train.batch(which), second.train.batch(which)
        for name, value in one_batch.targets.items():
            np.testing.assert_array_equal(value, other.targets[name])


def tuned(out: Path) -> list[dict[str, object]]:
    entries = [entry_of("fedavg"), entry_of("fedbuff")]
    tuning.tune(entries, SETUP, 4, SEEDS, 1, out, workers=1)
    lines: list[dict[str, object]] = json.loads((out / tuning.FILE).read_text())["strategies"]
    return [{k: v for k, v in line.items() if k != "cpu_s"} for line in lines]


@pytest.mark.slow
def test_a_killed_tuning_goes_on_and_ends_with_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its second rung, it runs what is missing; the strategy as given is never worse
    than what is chosen; both have had four trials."""
    straight = tuned(tmp_path / "a")
    ran: list[str] = []
    whole = grid.run_cell

    def counted(cell, setup):  # type: ignore[no-untyped-def]
        if len(ran) == 9:
            raise KeyboardInterrupt
        ran.append(cell.key)
        return whole(cell, setup)

    monkeypatch.setattr(grid, "run_cell", counted)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "b")
    monkeypatch.setattr(grid, "run_cell", whole)
    before = list((tmp_path / "b").rglob("*.parquet"))
    assert len(before) == 9
    again = tuned(tmp_path / "b")
    assert again == straight
    for line in straight:
        assert line["trials"] == 4
        assert line["tuned_error"] <= line["error"]  # type: ignore[operator]
    # 2 x 4 cells of a round, then the best and the one as given, to the end.
    first, second = ((tmp_path / "b" / tuning.FOLDER / f"rung-{k}" / "cells") for k in (0, 1))
    assert len(list(first.iterdir())) == 8
    assert 2 <= len(list(second.iterdir())) <= 4


def test_a_trial_that_lost_a_home_wins_no_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other homes have the least error of all; the strategy as given is chosen, as no trial
    kept all homes."""

    def ran(cell, setup):  # type: ignore[no-untyped-def]
        good = cell.entry.text == "fedavg"
        errors = [0.9, 0.9, 0.9] if good else [0.1, 0.1, float("nan")]
        rows = [
            {"round": setup.rounds, "household": f"H{h}", "nrmse": e} for h, e in enumerate(errors)
        ]
        return rows, {"wall_s": 0.0, "cpu_s": 0.0, "peak_mb": 0.0, "failure": ""}

    monkeypatch.setattr(grid, "run_cell", ran)
    [found] = tuning.tune([entry_of("fedavg")], SETUP, 4, SEEDS, 1, tmp_path, workers=1)
    assert (found.tuned, found.tuned_error) == ("fedavg", pytest.approx(0.9))
    assert "nan" not in tuning.table([replace(found, error=float("nan"))]).markdown()


def test_tuning_needs_days_to_train_on() -> None:
    """12 days less 4 leave 8."""
    with pytest.raises(InputError, match="train-days"):
        tuning.check(replace(SETUP, test_days=4))
    tuning.check(SETUP)


@pytest.mark.parametrize("text", ["fedavg(learning_rate=0)", "fedavg(local_steps=1.5)"])
def test_rates_and_steps_that_are_none_are_named(text: str) -> None:
    """When they are read."""
    with pytest.raises(InputError, match=r"learning_rate|local_steps"):
        entry_of(text)


def test_a_quick_look_is_tuned(tmp_path: Path) -> None:
    """By five trials, unless it is told otherwise; the table has both rows where a trial won."""
    (tmp_path / "dials.yaml").write_text("clean: {}\n")
    small = (
        f"--quick --strategies fedavg --dials {tmp_path / 'dials.yaml'} --data synthetic "
        "--households 2 --rounds 3 --seeds 2 --local-steps 1 --batch-size 4 --train-days 12 "
        "--check-days 2 --test-days 2 --workers 1"
    ).split()
    runner = CliRunner()
    found = runner.invoke(app, [*small, "--out", str(tmp_path / "quick")])
    assert found.exit_code == 0, found.output
    [told] = json.loads((tmp_path / "quick" / tuning.FILE).read_text())["strategies"]
    assert told["trials"] == 5
    rows = pd.read_parquet(tmp_path / "quick" / grid.ROWS)
    assert {told["strategy"], told["tuned"]} <= set(rows["strategy"])
    found = runner.invoke(app, [*small, "--tune", "0", "--out", str(tmp_path / "plain")])
    assert found.exit_code == 0, found.output
    assert not (tmp_path / "plain" / tuning.FILE).exists()
