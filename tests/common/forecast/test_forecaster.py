"""Models and forecasts: size, units, independence of company, blindness to the future."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from common.errors import InputError
from common.forecast.forecaster import Forecaster, load_weights, weights_of
from common.forecast.kernels import attention, mixture
from common.forecast.loss import stream_losses, total_loss, training_loss
from common.forecast.presets import PRESETS
from common.forecast.scalers import fit_scaler
from common.forecast.slot_transformer import SlotTransformer, encode
from common.forecast.streams import HORIZONS, KINDS, QUANTILES, STREAMS, horizon_of
from common.forecast.transformer import EnergyTransformer, build_model
from common.forecast.windows import Batch, training_windows
from tests.support.homes import home

SMALL = [name for name in sorted(PRESETS) if name != "full"]


def _weights(preset: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights away from the zero start of the last layers, so that every input matters."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(preset)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.03 * torch.randn_like(parameter))
    return weights_of(model)


def test_full_has_the_specified_number_of_parameters() -> None:
    """25,818,176 parameters, all of them in the state dict: 103.3 MB in float32."""
    model = build_model("full")
    assert sum(p.numel() for p in model.parameters()) == 25_818_176
    assert sum(v.numel() for v in model.state_dict().values()) == 25_818_176


@pytest.mark.parametrize("preset", SMALL)
def test_small_presets_are_small(preset: str) -> None:
    """At most a million parameters, and no state beside them."""
    model = build_model(preset)
    assert sum(v.numel() for v in model.state_dict().values()) <= 1_000_000
    assert {name for name, _ in model.named_parameters()} == set(model.state_dict())


def test_full_maps_a_day_of_features_to_six_streams() -> None:
    """(batch, 48, 24) in, consumption and price at 48, 336 and 1440 steps out."""
    model = build_model("full").eval()
    assert isinstance(model, EnergyTransformer)
    outputs = model(torch.zeros(2, 48, 24))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {
        name: (2, horizon_of(name)) for name in STREAMS
    }


@pytest.mark.parametrize("preset", SMALL)
def test_a_forecast_does_not_depend_on_company(preset: str) -> None:
    """Bit for bit the same alone, among 19 households and in another order."""
    homes = [home(30 + seed % 3, seed, scale=1.0 + seed) for seed in range(19)]
    known = [len(one) - seed for seed, one in enumerate(homes)]
    scalers = [fit_scaler(one, 0, len(one)) for one in homes]
    weights = _weights(preset)
    together = Forecaster(preset, weights, scalers).forecast(homes, known)
    backwards = Forecaster(preset, weights, scalers[::-1]).forecast(homes[::-1], known[::-1])
    fewer = Forecaster(preset, weights, scalers).forecast(homes, known, ("day", "week"))
    for i in range(0, 19, 3):
        alone = Forecaster(preset, weights, scalers[i : i + 1]).forecast(homes[i : i + 1], known[i])
        for name, values in alone.streams.items():
            np.testing.assert_array_equal(values[0], together.streams[name][i])
        for name, values in backwards.streams.items():
            np.testing.assert_array_equal(values[18 - i], together.streams[name][i])
        if alone.quantiles is not None and together.quantiles is not None:
            np.testing.assert_array_equal(alone.quantiles[0], together.quantiles[i])
    assert set(together.streams) == set(STREAMS)
    assert set(fewer.streams) == {name for name in STREAMS if not name.endswith("month")}
    for name, values in fewer.streams.items():
        np.testing.assert_allclose(values, together.streams[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("known", [48, 51, 700, 35 * 48])
def test_nothing_after_the_origin_changes_a_forecast(preset: str, known: int) -> None:
    """Noise in place of every row from the origin on changes no stream by a bit."""
    history = home(40, 5)
    scaler = fit_scaler(history, 0, 48)
    forecaster = Forecaster(preset, _weights(preset), [scaler])
    before = forecaster.forecast([history], known)
    history.values[known:] = np.random.default_rng(9).normal(size=history.values[known:].shape)
    after = forecaster.forecast([history], known)
    for name, values in before.streams.items():
        assert values.shape == (1, HORIZONS[STREAMS[name][1]])
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, after.streams[name])
    if before.quantiles is not None:
        np.testing.assert_array_equal(before.quantiles, after.quantiles)


@pytest.mark.parametrize("preset", SMALL)
def test_the_last_reading_changes_a_forecast(preset: str) -> None:
    """The leakage test would pass for a model that reads nothing: this one fails then."""
    history = home(40, 5)
    forecaster = Forecaster(preset, _weights(preset), [fit_scaler(history, 0, 480)])
    before = forecaster.forecast([history], 1500).streams["consumption_day"]
    history.values[1499] += 0.5
    assert (before != forecaster.forecast([history], 1500).streams["consumption_day"]).any()


def test_slot_keeps_a_steady_tariff_and_a_steady_load() -> None:
    """Fresh weights forecast the mean of earlier same slots: exact when every day is alike."""
    history = home(40, timezone="UTC")
    history.values[:] = np.tile(history.values[:48], (40, 1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = weights_of(build_model("slot"))
    scaler = fit_scaler(history, 0, len(history))
    known = 30 * 48 + 5
    forecast = Forecaster("slot", weights, [scaler]).forecast([history], known)
    step = known + np.arange(48)
    np.testing.assert_allclose(
        forecast.streams["price_day"][0], history.price(0, len(history))[step], atol=1e-5
    )
    np.testing.assert_allclose(
        forecast.streams["consumption_day"][0],
        history.consumption(0, len(history))[step],
        atol=1e-4,
    )
    week = known + np.arange(336)
    np.testing.assert_allclose(
        forecast.streams["price_week"][0], history.price(0, len(history))[week], atol=1e-5
    )


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("load", [0.0, 1e-9])
def test_an_empty_home_gets_finite_forecasts(preset: str, load: float) -> None:
    """No load at all, or next to none, divides by nothing."""
    history = home(30)
    history.values[:, :9] = load
    forecaster = Forecaster(preset, _weights(preset), [fit_scaler(history, 0, 1000)])
    for values in forecaster.forecast([history], 1000).streams.values():
        assert np.isfinite(values).all()


def test_quantiles_are_ordered_and_not_negative() -> None:
    """(H, Q, 48), non-decreasing in Q, in kWh."""
    homes = [home(40, seed) for seed in (1, 2)]
    scalers = [fit_scaler(one, 0, 960) for one in homes]
    forecast = Forecaster("slot", _weights("slot"), scalers).forecast(homes, 960, ("day",))
    assert forecast.quantiles is not None
    assert forecast.quantiles.shape == (2, len(forecast.levels), 48)
    assert (np.diff(forecast.quantiles, axis=1) >= 0).all()
    assert (forecast.quantiles >= 0).all()


def test_wrong_weights_are_named() -> None:
    """Missing, unknown and misshapen arrays raise InputError with the array's name."""
    model = build_model("edge")
    good = weights_of(model)
    with pytest.raises(InputError, match=r"embed\.weight"):
        load_weights(model, {k: v for k, v in good.items() if k != "embed.weight"})
    with pytest.raises(InputError, match="extra"):
        load_weights(model, good | {"extra": np.zeros(1, np.float32)})
    with pytest.raises(InputError, match=r"embed\.bias"):
        load_weights(model, good | {"embed.bias": np.zeros(3, np.float32)})


def test_new_weights_replace_the_old_without_touching_them() -> None:
    """Weights are taken without a copy: loading others must not write into the first ones."""
    history = home(40)
    first, second = _weights("edge", 1), _weights("edge", 2)
    for array in second.values():
        array.flags.writeable = False
    kept = {name: array.copy() for name, array in first.items()}
    scaler = fit_scaler(history, 0, 900)
    forecaster = Forecaster("edge", first, [scaler])
    forecaster.load(second)
    fresh = Forecaster("edge", second, [scaler]).forecast([history], 900)
    for name, values in forecaster.forecast([history], 900).streams.items():
        np.testing.assert_array_equal(values, fresh.streams[name])
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


def test_unknown_preset_and_short_history_are_refused() -> None:
    """One clear line each: the known presets; a day of history."""
    with pytest.raises(InputError, match="edge"):
        build_model("huge")
    history = home(2)
    forecaster = Forecaster("edge", weights_of(build_model("edge")), [fit_scaler(history, 0, 96)])
    with pytest.raises(InputError, match="48"):
        forecaster.forecast([history], 47)


def test_loss_weights_by_hand() -> None:
    """Error 2 everywhere: consumption 4, price 2 per stream.

    (1 + 0.5 + 0.25) x (0.6 x 4 + 0.4 x 2) = 1.75 x 3.2 = 5.6. With the month masked away
    1.5 x 3.2 = 4.8.
    """
    outputs = {name: torch.full((1, horizon_of(name)), 2.0) for name in STREAMS}
    targets = {name: torch.zeros(1, horizon_of(name)) for name in STREAMS}
    masks = {name: torch.ones(1, horizon_of(name)) for name in STREAMS}
    assert float(total_loss(stream_losses(outputs, targets, masks))) == pytest.approx(5.6)
    for name in ("consumption_month", "price_month"):
        masks[name] = torch.zeros_like(masks[name])
        outputs[name] = torch.full_like(outputs[name], 1e9)
    assert float(total_loss(stream_losses(outputs, targets, masks))) == pytest.approx(4.8)


def test_quantile_loss_is_least_at_the_quantile() -> None:
    """For 101 actuals 0..100 the pinball loss at level 0.9 is least at 90."""
    actual = torch.arange(101.0)[None]
    losses = []
    for guess in range(101):
        outputs = {name: torch.zeros(1, horizon_of(name)) for name in STREAMS}
        targets = {name: torch.zeros(1, horizon_of(name)) for name in STREAMS}
        masks = {name: torch.ones(1, horizon_of(name)) for name in STREAMS}
        outputs["consumption_day"] = torch.zeros_like(actual)
        targets["consumption_day"], masks["consumption_day"] = actual, torch.ones_like(actual)
        outputs[QUANTILES] = torch.full((1, 7, 101), float(guess))
        losses.append(float(stream_losses(outputs, targets, masks)[QUANTILES]))
    # Levels are symmetric about one half, so their mean loss is least at the median.
    assert int(np.argmin(losses)) == 50


def test_the_training_loss_is_the_total_loss() -> None:
    """Value and gradient by each output are autograd's of ``total_loss(stream_losses)``."""
    rng = np.random.default_rng(0)
    targets = {n: rng.normal(size=(3, horizon_of(n))).astype(np.float32) for n in STREAMS}
    masks = {n: rng.random((3, horizon_of(n))) < 0.7 for n in STREAMS}
    masks["price_month"][:] = False
    shapes = {n: (3, horizon_of(n)) for n in STREAMS} | {QUANTILES: (3, 7, 48)}
    outputs = {
        n: torch.from_numpy(rng.normal(size=shape).astype(np.float32)).requires_grad_()
        for n, shape in shapes.items()
    }
    weights = Batch({}, targets, masks).weights
    known = {n: torch.from_numpy(v) for n, v in targets.items()}
    plain = total_loss(
        stream_losses(outputs, known, {n: torch.from_numpy(m).float() for n, m in masks.items()})
    )
    loss = training_loss(outputs, known, {n: torch.from_numpy(w) for n, w in weights.items()})
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    made = torch.autograd.grad(loss, list(outputs.values()))
    expected = torch.autograd.grad(plain, list(outputs.values()))
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-8)


def test_gradients_written_by_hand_are_those_of_finite_differences() -> None:
    """``torch.autograd.gradcheck`` of the weighted mean and of attention, in float64."""
    torch.manual_seed(0)
    scores = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(5, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda s: mixture(s, candidates), scores)
    projected = torch.randn(3, 5, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention, projected)


def test_the_encoder_computes_torchs_layer() -> None:
    """The slot model's encoder and torch's own, with the same weights, agree to rounding."""
    torch.manual_seed(0)
    model = SlotTransformer(PRESETS["slot"])
    tokens = torch.randn(24, 5, 64)
    made = tokens.flatten(0, 1)
    for layer in model.encoder.layers:
        made = encode(layer, made, 5)
    expected = model.encoder.eval()(tokens.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(made.view(24, 5, 64), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preset", ["slot", "slot-small"])
def test_a_forecast_is_what_training_saw(preset: str) -> None:
    """At one origin the forecaster and a training window give the model the same: its outputs agree
    to rounding, which a batch of another size may change."""
    history = home(60)
    known = 50 * 48 + 11  # three weeks after the clock changed
    scaler = fit_scaler(history, 0, known)
    weights = _weights(preset)
    model = build_model(preset)
    load_weights(model, weights)
    windows = training_windows(history, scaler, preset, known, len(history))
    batch = windows.batch(np.array([0, 1, 2]))
    with torch.inference_mode():
        outputs = model({n: torch.from_numpy(v) for n, v in batch.inputs.items()})
    forecast = Forecaster(preset, weights, [scaler]).forecast([history], known)
    for name, (kind, _) in STREAMS.items():
        own = outputs[name][0].numpy() * scaler.target_scale[KINDS.index(kind)]
        own = np.maximum(own, 0.0) if kind == "consumption" else own
        np.testing.assert_allclose(forecast.streams[name][0], own, rtol=1e-4, atol=1e-5)


def test_inputs_come_without_torch() -> None:
    """A market message in a process of its own must not pay for importing torch."""
    code = (
        "import sys, common.forecast.windows, common.forecast.scalers, common.forecast.metrics,"
        "common.forecast.baselines, common.forecast.presets; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
