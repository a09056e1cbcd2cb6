"""One training loop, shared by the local pipeline and the short update of a federated round."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common import rng
from common.config import Training
from common.errors import InputError
from common.forecast.device import autocast, choose_device
from common.forecast.loss import stream_losses, total_loss, training_loss
from common.forecast.presets import Preset
from common.forecast.windows import Batch, Windows
from fl_client.optimiser import Optimiser

LEAST_SHARE = 1 / 16
"""Of the learning rate, however many rounds there were."""


class Hook:
    """What an aggregation strategy may add to local training; override what it needs.

    ``begin`` sees the model as it came from the server; ``gradients`` may change ``.grad`` of the
    parameters before they are clipped (a proximal term, control variates); ``stepped`` sees the
    model after the optimiser's step. ``rests`` says that it takes gradients away, so that the
    optimiser leaves these parameters alone in that step.
    """

    rests = False

    def begin(self, model: nn.Module) -> None:
        """Before the first step."""

    def gradients(self, model: nn.Module) -> None:
        """After each backward pass, before clipping."""

    def stepped(self, model: nn.Module) -> None:
        """After each step of the optimiser."""


@dataclass(frozen=True)
class TrainResult:
    """What a household tells of its training: number of windows, mean loss, steps, seconds."""

    windows: int
    loss: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Epoch:
    """One pass of ``fit``."""

    number: int
    train_loss: float
    val_loss: float
    learning_rate: float
    best: bool


def _tensors(arrays: Mapping[str, NDArray[np.generic]], device: torch.device) -> dict[str, Tensor]:
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    if device.type != "cpu":
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return tensors


def learning_rate(training: Training, preset: Preset) -> float:
    """The rate that is set, the preset's own where none is."""
    return training.learning_rate or preset.learning_rate


@contextmanager
def _seeded(model: nn.Module, seed: int) -> Iterator[None]:
    """Torch's generators of the CPU and of the model's device, seeded; as they were afterwards.

    ``torch.manual_seed`` sees to every kind of device there may be, and keeps a traceback for each
    kind that is not in use: half a millisecond.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


def _optimiser(
    model: nn.Module, training: Training, preset: Preset, hooks: Sequence[Hook]
) -> Optimiser:
    return Optimiser(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        training.optimiser,
        rate=learning_rate(training, preset),
        decay=training.weight_decay,
        clip_norm=training.clip_norm,
        whole=not any(hook.rests for hook in hooks),
    )


def _train(
    model: nn.Module,
    batches: Iterable[Batch],
    optimiser: Optimiser,
    preset: Preset,
    hooks: Sequence[Hook],
) -> tuple[float, int]:
    """Take one step per batch. Returns (mean loss, steps)."""
    device = next(model.parameters()).device
    model.train()
    losses = []
    for batch in batches:
        inputs, targets, weights = (
            _tensors(group, device) for group in (batch.inputs, batch.targets, batch.weights)
        )
        with autocast(preset, device):
            outputs = model(inputs)
        loss = training_loss(outputs, targets, weights)
        optimiser.zero()
        loss.backward()  # type: ignore[no-untyped-call]
        for hook in hooks:
            hook.gradients(model)
        optimiser.step()
        for hook in hooks:
            hook.stepped(model)
        losses.append(loss.detach())
    return (float(torch.stack(losses).mean()) if losses else float("nan")), len(losses)


def at_round(training: Training, preset: Preset, round_: int, decay_rounds: int) -> Training:
    """The settings of round ``round_`` (from 1): a learning rate that falls as 1 / (1 + r / R).

    At a constant rate federated averaging on unlike homes does not converge (Li et al. 2020, "On
    the Convergence of FedAvg on Non-IID Data", arXiv:1907.02189), and homes with a few weeks of
    data overfit. It stops falling at a sixteenth, so that a run of months still follows its homes.
    """
    rate = learning_rate(training, preset)
    share = max(1.0 / (1.0 + round_ / decay_rounds), LEAST_SHARE)
    return training.model_copy(update={"learning_rate": rate * share})


def local_update(
    model: nn.Module,
    windows: Windows,
    training: Training,
    *,
    steps: int,
    seed: int,
    household: str = "",
    round_: int = 0,
    hooks: Sequence[Hook] = (),
) -> TrainResult:
    """Train ``model`` in place for ``steps`` batches drawn from ``windows``.

    The optimiser starts afresh. Draws depend on (seed, household, round_) alone. A household that
    has no windows yet takes no step, and its weight in the average is 0.
    """
    started = time.perf_counter()
    preset = windows.preset
    model.to(choose_device(training.device))
    for hook in hooks:
        hook.begin(model)
    loss, taken = float("nan"), 0
    if len(windows):
        batches = windows.draws(
            training.batch_size, steps, rng.generator(seed, household, round_, "batches")
        )
        with _seeded(model, rng.torch_seed(seed, household, round_, "dropout")):
            loss, taken = _train(
                model,
                batches,
                _optimiser(model, training, preset, hooks),
                preset,
                hooks,
            )
    return TrainResult(len(windows), loss, taken, time.perf_counter() - started)


def evaluate(model: nn.Module, windows: Windows, *, batch_size: int = 64) -> dict[str, float]:
    """Return ``loss`` and each stream's loss, means over all windows, and their number ``windows``.

    Streams without any known target are left out. Without windows the loss is nan.
    """
    device = next(model.parameters()).device
    preset = windows.preset
    model.eval()
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for batch in windows.epoch(batch_size, None):
        inputs, targets, masks = (
            _tensors(group, device) for group in (batch.inputs, batch.targets, batch.masks)
        )
        with torch.inference_mode(), autocast(preset, device):
            outputs = model(inputs)
        with torch.inference_mode():
            losses = stream_losses(outputs, targets, masks)
        for name, value in losses.items():
            weight = float(masks[name if name in masks else "consumption_day"].sum())
            sums[name] = sums.get(name, 0.0) + weight * float(value)
            weights[name] = weights.get(name, 0.0) + weight
    means = {name: sums[name] / weight for name, weight in weights.items() if weight > 0}
    total = total_loss({name: torch.tensor(value) for name, value in means.items()})
    loss = float(total) if means else float("nan")
    return {"loss": loss, **means, "windows": float(len(windows))}


def fit(
    model: nn.Module,
    train: Windows,
    validation: Windows,
    training: Training,
    *,
    seed: int,
    household: str = "",
    hooks: Sequence[Hook] = (),
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> list[Epoch]:
    """Train ``model`` in place until the validation loss stops falling; keep the best weights.

    AdamW with ReduceLROnPlateau and early stopping, at most ``training.max_epochs`` passes.
    Raises InputError when either span has no window.
    """
    for name, windows in (("training", train), ("validation", validation)):
        if not len(windows):
            raise InputError(f"{name} span: too short for a single window")
    preset = train.preset
    model.to(choose_device(training.device))
    for hook in hooks:
        hook.begin(model)
    optimiser = _optimiser(model, training, preset, hooks)
    # The scheduler reads and writes the rate of one of torch's own optimisers.
    scheduled = torch.optim.SGD([torch.zeros(1)], lr=optimiser.rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        scheduled, patience=training.plateau_patience
    )
    best, kept, waited = float("inf"), {}, 0
    history: list[Epoch] = []
    for number in range(1, training.max_epochs + 1):
        batches = train.epoch(training.batch_size, rng.generator(seed, household, number, "epoch"))
        with _seeded(model, rng.torch_seed(seed, household, number, "dropout")):
            loss, _ = _train(model, batches, optimiser, preset, hooks)
        validated = evaluate(model, validation)["loss"]
        rate = optimiser.rate
        improved = validated < best
        if improved:
            best, waited = validated, 0
            kept = {name: value.clone() for name, value in model.state_dict().items()}
        else:
            waited += 1
        history.append(Epoch(number, loss, validated, rate, improved))
        on_epoch(history[-1])
        plateau.step(validated)
        optimiser.rate = scheduled.param_groups[0]["lr"]
        if waited >= training.early_stopping:
            break
    if not kept:
        raise InputError("training diverged: the validation loss was never a number")
    model.load_state_dict(kept)
    return history
