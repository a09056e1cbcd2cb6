"""The benchmark's promises: equal origins, no look ahead, honest intervals."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.config import Training
from common.data.frame import COLUMNS, Household
from common.errors import InputError
from common.forecast.forecaster import weights_of
from common.forecast.presets import find_preset
from fl_client.training import local_update
from simulations.benchmarks.forecasts import neural, output, plain, run, scores
from simulations.benchmarks.forecasts.panel import (
    Panel,
    make_panel,
    make_span,
    midnight_origins,
    window,
)
from simulations.benchmarks.forecasts.prices import with_local_price
from tests.support.homes import home

PLAN = neural.Plan("slot", rounds=2, local_steps=1, batch_size=8, fine_tune_steps=1)


def _household(name: str, seed: int, days: int = 75) -> Household:
    history = home(days, seed)
    frame = pd.DataFrame(history.values, index=history.index, columns=list(COLUMNS))
    silent = np.zeros(len(frame), dtype=bool)
    silent[100 * seed : 100 * seed + 5] = True
    return Household(name, frame, "Europe/London", filled_rows=silent)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel([_household(f"H{i}", i) for i in range(4)])


def test_spans_follow_time_and_do_not_touch(panel: Panel) -> None:
    """Validation ends where the test begins; origins and horizons lie within the span."""
    test, validation = make_span(panel, "test"), make_span(panel, "validation")
    assert validation.stop == test.start
    assert test.stop == panel.load.shape[1]
    days = len(panel.midnights)
    assert test.start == panel.midnights[days - round(0.2 * days)]
    origins = midnight_origins(panel, validation, 336)
    assert len(origins)
    assert origins.min() >= validation.start
    assert (origins + 336 <= validation.stop).all()
    local = panel.histories[0].index[origins].tz_convert("Europe/London")
    assert set(local.hour) == {0}


def test_nothing_scored_is_read_in_training_or_before_its_time(panel: Panel) -> None:
    """Noise from the scored span's start on changes no forecast issued at its start by a bit.

    Covers training, scalers, naive rules, regressions and every neural row.
    """
    span = make_span(panel, "test")
    rng = np.random.default_rng(0)
    histories = []
    for one in panel.histories:
        values = one.values.copy()
        values[span.start :] = rng.gamma(1.0, 9.0, values[span.start :].shape)
        histories.append(replace(one, values=values))
    noisy = replace(panel, histories=tuple(histories))
    for name in ("load", "filled", "price", "temperature"):
        array = getattr(panel, name).copy()
        array[:, span.start :] = rng.gamma(1.0, 9.0, array[:, span.start :].shape)
        noisy = replace(noisy, **{name: array})
    origin = np.array([span.start])

    def everything(given: Panel) -> dict[str, np.ndarray]:
        made = {n: plain.naive(n, given.filled, origin, 336) for n in run.NAIVE}
        made |= {n: plain.regression(n, given, span, origin, 0) for n in ("ridge",)}
        homes = neural.Homes(given, span, PLAN, 3)
        made_together = neural.federated(homes, "fine-tuned", {"fine_tune_steps": 1})
        trained = {
            "local": neural.local_only(homes),
            "central": neural.centralised(homes),
            "federated": made_together.shared,
            "tuned": made_together.own,
            "personal": neural.federated(homes, "fedper").own,
        }
        for name, one in trained.items():
            for horizon in ("day", "week", "month"):
                got = neural.forecasts(given, homes.scalers, "slot", one, origin, horizon)
                made |= {f"{name} {stream}": values for stream, values in got.streams.items()}
        return made

    before, after = everything(panel), everything(noisy)
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)


def test_training_rows_take_equal_steps(panel: Panel) -> None:
    """Local, pooled and federated rows take homes x rounds x local steps. Bytes of the federation:
    the first model to all four homes, then in each of two rounds the model down to all of them to
    train, up again, and down once more as the new one."""
    homes = neural.Homes(panel, make_span(panel, "test"), PLAN, 0)
    rows = [neural.local_only(homes), neural.centralised(homes), neural.federated(homes).shared]
    assert {row.steps for row in rows} == {4 * 2 * 1}
    size = sum(array.nbytes for array in rows[2].models[0].values())
    assert rows[0].bytes_sent == rows[1].bytes_sent == 0
    messages = 4 * (1 + 2 * 3)
    assert messages * size <= rows[2].bytes_sent <= 1.1 * messages * size
    assert len(rows[0].models) == 4
    assert len(rows[1].models) == len(rows[2].models) == 1


def test_the_federation_is_that_of_a_run(panel: Panel) -> None:
    """One round of all homes by hand: each takes the run's first model, trains it at the rate of
    round 1, and the new model is their mean weighted by windows, on a grid of 2^-20 or finer. With
    fine-tuning the shared model is the same, and each home's own is another."""
    plan = replace(PLAN, rounds=1)
    homes = neural.Homes(panel, make_span(panel, "test"), plan, 3)
    trained, counts = [], []
    for name, windows in zip(homes.names, homes.windows, strict=True):
        model = homes.fresh()
        rate = find_preset("slot").learning_rate / (1 + 1 / homes.decay_rounds)
        training = Training(learning_rate=rate, batch_size=8, device="cpu")
        local_update(model, windows, training, steps=1, seed=3, household=name, round_=1)
        trained.append(weights_of(model))
        counts.append(len(windows))
    made = neural.federated(homes)
    for name, value in made.shared.models[0].items():
        mean = np.average([one[name] for one in trained], axis=0, weights=counts)
        np.testing.assert_allclose(value, mean, atol=1e-6)
    tuned = neural.federated(homes, "fine-tuned", {"fine_tune_steps": 2})
    assert tuned.own.steps == tuned.shared.steps + 4 * 2
    first, second = tuned.own.models[:2]
    for name, value in made.shared.models[0].items():
        np.testing.assert_array_equal(tuned.shared.models[0][name], value)
    assert any(not np.array_equal(first[name], second[name]) for name in first)
    for one in made.own.models:
        for name, value in made.shared.models[0].items():
            np.testing.assert_array_equal(one[name], value)


def test_personal_layers_stay_with_their_home(panel: Panel) -> None:
    """With personal layers the homes' last layers differ, the rest is the same for all."""
    homes = neural.Homes(panel, make_span(panel, "test"), PLAN, 0)
    first, second = neural.federated(homes, "fedper").own.models[:2]
    same = {name for name in first if np.array_equal(first[name], second[name])}
    assert "mean.weight" not in same
    assert {name for name in first if name.startswith("encoder.")} <= same


def test_silent_meters_are_in_no_score(panel: Panel) -> None:
    """A forecast that is wrong only where the meter was silent scores as a perfect one."""
    actual = window(panel.load, np.array([90]), 48)
    assert np.isnan(actual[1]).any()
    forecast = np.where(np.isnan(actual), 1e6, actual)
    made = scores.per_home(forecast, actual, np.ones(4))
    np.testing.assert_array_equal(made["rmse"], 0.0)
    assert scores.community_nrmse(forecast, actual) == 0.0


def test_a_paired_interval_knows_a_real_difference() -> None:
    """Homes that differ by -0.1 +- 0.05 give an interval below 0; equal noise straddles it."""
    rng = np.random.default_rng(1)
    theirs = rng.normal(1.0, 0.3, 40)
    real = scores.paired_interval(theirs - 0.1 + rng.normal(0, 0.05, 40), theirs, 0)
    assert real["high"] < 0.0
    assert real["better"] > 0.9
    none = scores.paired_interval(theirs + rng.permutation([-0.1, 0.1] * 20), theirs, 0)
    assert none["low"] < 0.0 < none["high"]


def test_a_whole_benchmark_writes_what_it_prints(panel: Panel, tmp_path) -> None:
    """Rows, comparisons, CSV, JSON and picture of one small run; unseen homes are apart."""
    span = make_span(panel, "test")
    results = [run.naive_row("mean_7_days", panel, span, 97)]
    for kind in ("local_only", "federated", "unseen"):
        results += run.neural_rows(kind, panel, span, PLAN, 0, 97)
    made = output.summary(results, {"homes": 4})
    output.write(made, results, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["homes"] == 4
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    lines = (tmp_path / "homes.csv").read_text().splitlines()
    assert (
        sum(
            ",unseen," not in line and "federated,0,consumption_day,H3,nrmse" in line
            for line in lines
        )
        == 1
    )
    unseen = next(one for one in results if one.row == "unseen")
    assert unseen.names == ("H0", "H3")
    assert "federated - local_only" in made["comparisons"]
    assert "unseen - federated, the same homes" in made["comparisons"]
    scored = made["rows"]["federated"]["streams"]
    assert {"consumption_day", run.ALL_HOURS, "consumption_week", "price_day"} <= set(scored)
    assert 0.0 <= scored["consumption_day"]["coverage_80"]["mean"] <= 1.0
    assert any("federated" in line for line in output.table(made, "consumption_day"))


def test_the_local_price_of_a_run_replaces_the_retail_price(panel: Panel, tmp_path) -> None:
    """Intervals without trade keep the last local price; before the first it is retail."""
    index = panel.histories[0].index[48 : 48 * 73]
    rows = [
        {"time": t.isoformat(), "retail": 0.3, "local_price": None if i % 5 or i < 5 else 0.1 + i}
        for i, t in enumerate(index)
    ]
    (tmp_path / "intervals.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    local = with_local_price(panel, tmp_path)
    assert local.load.shape[1] == len(index)
    np.testing.assert_allclose(local.price[2, :11], [0.3] * 5 + [5.1] * 5 + [10.1])
    np.testing.assert_array_equal(local.load, panel.load[:, 48 : 48 * 73])
    np.testing.assert_array_equal(local.histories[1].price(0, 11), local.price[1, :11])
    with pytest.raises(InputError, match=r"intervals\.jsonl"):
        with_local_price(panel, tmp_path / "nothing")


def test_a_few_weeks_of_trading_are_enough_for_the_local_price(panel: Panel, tmp_path) -> None:
    """Six weeks: price streams of day and week are scored. With 30 days a regression says what it
    lacks; 19 days are refused."""
    index = panel.histories[0].index
    prices = 0.2 + 0.05 * np.sin(np.arange(len(index)) / 7)

    def write(days: int) -> None:
        rows = [
            {"time": t.isoformat(), "retail": 0.3, "local_price": price}
            for t, price in zip(index[: days * 48], prices, strict=False)
        ]
        (tmp_path / "intervals.jsonl").write_text("\n".join(json.dumps(row) for row in rows))

    write(42)
    local = with_local_price(panel, tmp_path)
    span = make_span(local, "test")
    scored = [run.naive_row("mean_7_days", local, span, 97)]
    scored += run.neural_rows("federated", local, span, PLAN, 0, 97)
    for one in scored:
        assert {"price_day", "price_week"} <= set(one.homes)
        assert np.isfinite(one.homes["price_day"]["nrmse"]).all()
    write(30)
    local = with_local_price(panel, tmp_path)
    with pytest.raises(InputError, match="ridge: 25 days of training"):
        run.regression_row("ridge", local, make_span(local, "test"), 0)
    write(19)
    with pytest.raises(InputError, match="19 days"):
        with_local_price(panel, tmp_path)


def test_short_data_is_refused() -> None:
    """Under 70 shared days there is nothing to score a month ahead on."""
    with pytest.raises(InputError, match="70"):
        make_panel([_household("A", 1, days=60)])
