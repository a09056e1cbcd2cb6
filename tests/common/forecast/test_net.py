"""Net load: own days as the trader has them, corrected by the model; nothing from the future."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.config import Training
from common.forecast import own_days
from common.forecast.forecaster import weights_of
from common.forecast.net_corrector import NetCorrector, has_net, recent_past
from common.forecast.net_inputs import LEAST_HISTORY, SCENARIOS, NetRows, joined_rows, net_inputs
from common.forecast.scalers import fit_scaler
from common.forecast.streams import NET
from common.forecast.transformer import build_model
from common.forecast.windows import pool, training_windows
from fl_client.training import evaluate, local_update
from tests.support.homes import home as synthetic_home

DAY = 48


def rows_of(days: int, seed: int = 0, lag: int = 1, memory: float = 0.0) -> NetRows:
    """A home with PV whose load departs from its habit by noise with a ``memory``."""
    rng = np.random.default_rng(seed)
    count = days * DAY
    slot = np.arange(count) % DAY
    noise = rng.normal(0, 0.2, count)
    for t in range(1, count):
        noise[t] += memory * noise[t - 1]
    sun = np.maximum(np.sin((slot - 12) / 24 * np.pi), 0.0)
    angle = 2 * np.pi * slot / DAY
    return NetRows(
        np.maximum(0.6 + 0.3 * np.sin(angle) + noise, 0.0),
        sun * rng.uniform(0.2, 1.0, days).repeat(DAY),
        sun * 800.0,
        np.sin(angle),
        np.cos(angle),
        (np.arange(count) // DAY % 7 >= 5).astype(float),
        np.full(count, lag),
    )


def fresh(seed: int = 0) -> dict[str, np.ndarray]:
    """Weights of a new model of the default preset."""
    torch.manual_seed(seed)
    return dict(weights_of(build_model("slot")))


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("days", [3, 70])
def test_own_scenarios_are_those_of_the_trader(lag: int, days: int) -> None:
    """Persisted past days for later steps, analogous days for the step being traded, as the trader
    makes them of the same readings with its default settings."""
    rows = rows_of(days, lag=lag)
    origin = days * DAY - 60
    made = net_inputs(
        rows, np.array([origin]), np.array([lag]), np.array([0]), np.arange(DAY)[None]
    )
    known = origin - lag
    load, pv = rows.load[None, :known], rows.pv[None, :known]
    scenarios = [own_days.recent_days(past, lag, DAY, SCENARIOS, DAY) for past in (load, pv)]
    own_days.follow_sun(scenarios[1], rows.clear[:known], rows.clear[origin:], lag, DAY)
    net = own_days.persist(*scenarios, load, pv, lag, DAY, 6, 0.7, 0.6, 0.75, 0.9, 0.92, 0.05)[0]
    now = own_days.analogous(load - pv, lag, DAY, SCENARIOS, 56, 12, 0.95)[0]
    now = np.where(np.isfinite(now), now, net[:, 0])
    got = made.own[0] * made.unit[0]
    assert got[1:] == pytest.approx(np.sort(net, axis=0).T[1:], abs=1e-12)
    assert got[0] == pytest.approx(np.sort(now), abs=1e-12)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_nothing_unknown_and_nothing_forgotten_is_read(lag: int) -> None:
    """Noise in place of all readings that are not known yet, and of those before the home's
    first, changes no input by a bit; the newest known and the first do change some."""
    rows, origin, first = rows_of(40, lag=lag), 30 * DAY + 7, 9 * DAY
    rng = np.random.default_rng(1)

    def read(load: np.ndarray, pv: np.ndarray) -> tuple[bytes, ...]:
        made = net_inputs(
            replace(rows, load=load, pv=pv),
            np.array([origin]), np.array([lag]), np.array([first]), np.arange(DAY)[None],
        )  # fmt: skip
        return tuple(x.tobytes() for x in (made.inputs, made.own, made.other, made.unit))

    def noisy(values: np.ndarray, low: int, high: int) -> np.ndarray:
        changed = values.copy()
        changed[low:high] = rng.uniform(0, 9, high - low)
        return changed

    before = read(rows.load, rows.pv)
    for low, high in ((origin - lag, len(rows)), (0, first)):
        assert read(noisy(rows.load, low, high), noisy(rows.pv, low, high)) == before
    for at in (origin - lag - 1, first):
        assert read(noisy(rows.load, at, at + 1), rows.pv) != before


def test_a_home_of_less_than_a_day_has_no_days_of_its_own() -> None:
    """Below ``LEAST_HISTORY`` known rows everything is nan; with them everything is a number."""
    rows, first = rows_of(20), 5 * DAY
    for known, able in ((LEAST_HISTORY - 1, False), (LEAST_HISTORY, True)):
        origin = first + known + 1
        made = net_inputs(
            rows, np.array([origin]), np.array([1]), np.array([first]), np.arange(DAY)[None]
        )
        for part in (made.inputs, made.own, made.other, made.unit):
            assert np.isfinite(part).all() == able


def test_fresh_weights_are_own_days_to_the_bit() -> None:
    """A model that has learned nothing gives the home's own scenarios back, and no gain or loss."""
    rows, origin = rows_of(40), 30 * DAY
    corrector = NetCorrector(fresh())
    made = net_inputs(rows, np.array([origin]), np.array([1]), np.array([0]), np.arange(DAY)[None])
    quantiles = corrector.quantiles(rows, origin, 1)
    assert quantiles.tobytes() == np.ascontiguousarray(made.own[0].T * made.unit[0]).tobytes()
    assert corrector.gain(*recent_past(rows, origin)) == 0.0


@pytest.mark.parametrize("bias", [-1e4, -30.0, 30.0, 1e20, np.nan, np.inf])
@pytest.mark.parametrize("days", [2, 70])
def test_a_broken_model_corrects_nothing(days: int, bias: float) -> None:
    """Of a home that has no week to check it by as well: numbers that are none, or that none of its
    days was near to, leave it its own days."""
    weights = fresh()
    weights["net.out.bias"][:] = bias
    rows = rows_of(days)
    made = NetCorrector(weights).quantiles(rows, days * DAY - 60 if days > 2 else DAY + 20, 1)
    assert made.shape == (SCENARIOS, DAY)
    assert np.isnan(made).all()


def test_a_model_that_misleads_is_seen_in_the_past_week() -> None:
    """A head that raises every quantile by twice the mean load loses against own days."""
    rows, weights = rows_of(40), fresh()
    weights["net.out.bias"] = weights["net.out.bias"] + np.float32(1.0)
    corrector = NetCorrector(weights)
    assert corrector.gain(*recent_past(rows, 30 * DAY)) < 0.0


def test_only_models_with_the_head_correct() -> None:
    """The presets with a day's window have none."""
    assert has_net(fresh())
    assert not has_net(weights_of(build_model("edge")))


def test_the_recent_past_ends_before_the_day() -> None:
    """What a home judges the model by is read before the row it stops at: noise from there on
    changes nothing."""
    rows, stop = rows_of(40), 30 * DAY
    load = rows.load.copy()
    load[stop:] = 9.0
    for made, same in zip(
        recent_past(rows, stop), recent_past(replace(rows, load=load), stop), strict=True
    ):
        for a, b in zip(
            (made,) if isinstance(made, np.ndarray) else vars(made).values(),
            (same,) if isinstance(same, np.ndarray) else vars(same).values(),
            strict=True,
        ):
            assert a.tobytes() == b.tobytes()


def test_homes_side_by_side_are_the_homes_alone() -> None:
    """Windows of pooled homes carry each home's own net load, inputs and targets, and no row of
    the neighbour before it."""
    homes = [synthetic_home(30, seed=seed) for seed in (1, 2)]
    alone = [
        training_windows(home, fit_scaler(home, 0, 20 * DAY), "slot", 0, 25 * DAY) for home in homes
    ]
    together = pool(alone)
    for i, one in enumerate(alone):
        at = np.array([0, len(one) - 1])
        mine, ours = one.batch(at), together.batch(at + i * len(alone[0]))
        for name in ("net_inputs", "net_own", "net_other"):
            assert mine.inputs[name].tobytes() == ours.inputs[name].tobytes()
        assert mine.targets[NET].tobytes() == ours.targets[NET].tobytes()
        assert mine.masks[NET].all()


def test_training_learns_what_own_days_do_not_know() -> None:
    """A home whose departures last longer than own days assume: after a hundred steps the net
    load of days it has not seen is forecast better than by own days."""
    rows = rows_of(90, lag=0, memory=0.97)
    home = synthetic_home(90, seed=3)
    home.values[:, :9] = 0.0
    home.values[:, 8] = rows.load
    scaler = fit_scaler(home, 0, 60 * DAY)
    train = training_windows(home, scaler, "slot", 0, 70 * DAY)
    test = training_windows(home, scaler, "slot", 70 * DAY, 90 * DAY).every(7)
    torch.manual_seed(0)
    model = build_model("slot")
    own = evaluate(model, test)[NET]
    local_update(model, train, Training(), steps=100, seed=0)
    assert evaluate(model, test)[NET] < 0.95 * own


def test_rows_of_one_home_are_not_copied() -> None:
    """A single home's rows stay views, so that readings written later are seen."""
    rows = rows_of(3)
    assert joined_rows([rows]) is rows
