"""Fine-tuning: keeps what helps, undoes what does not, touches the last layers first."""

import numpy as np
import pytest
import torch

from common.config import Training
from common.forecast.forecaster import weights_of
from common.forecast.presets import PRESETS, find_preset
from common.forecast.scalers import fit_scaler
from common.forecast.transformer import build_model
from common.forecast.windows import Windows, training_windows
from fl_client.personal import fine_tune, is_personal, with_personal
from fl_client.training import evaluate
from tests.support.homes import home


@pytest.fixture(scope="module")
def windows() -> Windows:
    history = home(20)
    return training_windows(history, fit_scaler(history, 0, 960), "edge", 0, 960)


def _model() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model("edge")


def test_an_update_that_hurts_is_undone(windows: Windows) -> None:
    """At an absurd rate the held-out loss rises, and the shared weights come back to the bit."""
    model = _model()
    before = weights_of(model)
    result = fine_tune(
        model, windows, Training(learning_rate=5.0), head_steps=2, all_steps=2, seed=0
    )
    assert not result.kept
    for name, value in weights_of(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_an_update_that_helps_is_kept(windows: Windows) -> None:
    """From random weights a few steps lower the loss on the held-out days, and stay."""
    model = _model()
    training = Training(learning_rate=1e-3)
    result = fine_tune(model, windows, training, head_steps=15, all_steps=5, seed=0)
    assert result.kept
    _, held = windows.split(0.2)
    assert evaluate(model, held.every(len(held) // 128))["loss"] == pytest.approx(result.tuned_loss)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_head_moves_alone_first(windows: Windows) -> None:
    """With no steps for the rest, only the last layers differ from the shared model."""
    model = _model()
    before = weights_of(model)
    training = Training(learning_rate=1e-3)
    assert fine_tune(model, windows, training, head_steps=15, all_steps=0, seed=0).kept
    after = weights_of(model)
    moved = {name for name in after if not np.array_equal(after[name], before[name])}
    assert moved
    assert all(is_personal(find_preset("edge"), name) for name in moved)


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"full"}))
def test_every_preset_has_personal_layers(preset: str) -> None:
    """Some arrays are personal and some shared; the mix takes each from its own side."""
    weights = weights_of(build_model(preset))
    chosen = find_preset(preset)
    personal = {name for name in weights if is_personal(chosen, name)}
    assert personal
    assert personal != set(weights)
    own = {name: value + 1.0 for name, value in weights.items()}
    mixed = with_personal(chosen, weights, own)
    for name, value in mixed.items():
        expected = own[name] if name in personal else weights[name]
        np.testing.assert_array_equal(value, expected)


def test_a_home_without_windows_keeps_the_shared_model() -> None:
    """Nothing to tune on, nothing changed."""
    history = home(1)
    empty = training_windows(history, fit_scaler(history, 0, 48), "edge", 0, 48)
    model = _model()
    before = weights_of(model)
    assert not fine_tune(model, empty, Training(), head_steps=1, all_steps=1, seed=0).kept
    for name, value in weights_of(model).items():
        np.testing.assert_array_equal(value, before[name])
