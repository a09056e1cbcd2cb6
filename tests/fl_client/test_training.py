"""One loop: reproducible updates, hooks that act, early stopping that keeps the best."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from common.config import Training
from common.errors import InputError
from common.forecast.scalers import fit_scaler
from common.forecast.transformer import build_model
from common.forecast.windows import Windows, training_windows
from fl_client.training import Epoch, Hook, evaluate, fit, local_update
from tests.support.homes import home


@pytest.fixture(scope="module")
def windows() -> Windows:
    history = home(12)
    rows = len(history)
    return training_windows(history, fit_scaler(history, 0, rows), "edge", 0, rows)


def _model(preset: str = "edge") -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model(preset)


def _flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("preset", ["edge", "slot"])
def test_an_update_is_a_function_of_seed_household_and_round(preset: str) -> None:
    """Same keys, same bytes, whatever torch's generator did before; another round differs."""
    history = home(12)
    windows = training_windows(history, fit_scaler(history, 0, 500), preset, 0, 500)
    results = []
    for round_ in (3, 3, 4):
        model = _model(preset)
        torch.rand(round_ + len(results))
        local_update(model, windows, Training(), steps=2, seed=1, household="A", round_=round_)
        results.append(_flat(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_an_update_leaves_torchs_generator_alone(windows: Windows) -> None:
    """Training draws nothing from the global generator that others use."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    local_update(_model(), windows, Training(), steps=1, seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("preset", ["edge", "slot"])
def test_training_lowers_the_loss(preset: str) -> None:
    """Forty steps on one home lower the loss on its training windows."""
    history = home(12)
    windows = training_windows(history, fit_scaler(history, 0, 500), preset, 0, 500)
    model = _model(preset)
    before = evaluate(model, windows)["loss"]
    training = Training(learning_rate=1e-3)
    result = local_update(model, windows, training, steps=40, seed=1)
    assert result.windows == len(windows)
    assert result.steps == 40
    assert evaluate(model, windows)["loss"] < before


def test_a_home_without_windows_takes_no_step() -> None:
    """A home in its first day has weight 0 and returns the model as it came."""
    history = home(1)
    windows = training_windows(history, fit_scaler(history, 0, 48), "edge", 0, 48)
    model = _model()
    before = _flat(model)
    result = local_update(model, windows, Training(), steps=4, seed=1)
    assert (result.windows, result.steps) == (0, 0)
    assert np.isnan(result.loss)
    assert torch.equal(_flat(model), before)


class _Count(Hook):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self, model: nn.Module) -> None:
        self.calls.append("begin")

    def gradients(self, model: nn.Module) -> None:
        assert all(p.grad is not None for p in model.parameters())
        self.calls.append("gradients")

    def stepped(self, model: nn.Module) -> None:
        self.calls.append("stepped")


class _Freeze(Hook):
    def gradients(self, model: nn.Module) -> None:
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.zero_()


def test_hooks_are_called_in_order_and_can_change_gradients(windows: Windows) -> None:
    """begin once, then gradients and stepped each step; zeroed gradients leave only decay."""
    count = _Count()
    model = _model()
    before = _flat(model)
    training = Training(weight_decay=0.0)
    local_update(model, windows, training, steps=2, seed=1, hooks=[_Freeze(), count])
    assert count.calls == ["begin", "gradients", "stepped", "gradients", "stepped"]
    assert torch.equal(_flat(model), before)


def test_fit_keeps_the_best_epoch_and_stops_early(windows: Windows) -> None:
    """After ``early_stopping`` epochs without gain it stops, with the best epoch's weights.

    A far too high rate makes later epochs worse than some earlier one.
    """
    train, validation = windows.split(0.3)
    training = Training(learning_rate=0.03, max_epochs=12, early_stopping=3, plateau_patience=1)
    seen: list[Epoch] = []
    model = _model()
    history = fit(model, train, validation, training, seed=0, on_epoch=seen.append)
    assert seen == history
    best = min(epoch.val_loss for epoch in history)
    assert evaluate(model, validation)["loss"] == pytest.approx(best, abs=1e-7)
    marked = [epoch.number for epoch in history if epoch.best]
    assert history[marked[-1] - 1].val_loss == best
    assert len(history) < training.max_epochs
    assert len(history) == marked[-1] + 3
    assert history[-1].learning_rate < 0.03


def test_fit_and_local_update_share_their_steps(windows: Windows) -> None:
    """One epoch of fit is as many optimiser steps as batches, seen by the same hooks."""
    train, validation = windows.split(0.3)
    count = _Count()
    fit(_model(), train, validation, Training(max_epochs=1), seed=0, hooks=[count])
    assert count.calls.count("stepped") == -(-len(train) // 32)


def test_fit_refuses_an_empty_span(windows: Windows) -> None:
    """A span without a window raises InputError that names the span."""
    history = home(1)
    empty = training_windows(history, fit_scaler(history, 0, 48), "edge", 0, 48)
    with pytest.raises(InputError, match="validation"):
        fit(_model(), windows, empty, Training(), seed=0)


def test_an_unknown_device_is_refused(windows: Windows) -> None:
    """training.device names what is wrong."""
    with pytest.raises(InputError, match=r"training\.device"):
        local_update(_model(), windows, Training(device="tpu9"), steps=1, seed=0)


def test_evaluate_is_the_mean_over_windows(windows: Windows) -> None:
    """The batch size changes nothing, and evaluation leaves the model as it was."""
    model = _model()
    before = copy.deepcopy(model.state_dict())
    one, other = evaluate(model, windows, batch_size=7), evaluate(model, windows, batch_size=64)
    assert one == pytest.approx(other, rel=1e-5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
