"""The synthetic(alpha, beta) data of the FedProx paper, and its multinomial logistic regression.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks" (arXiv:1812.06127), section 5.1:
30 devices, 60 features, 10 classes; device k labels its points x ~ N(v_k, diag(j^-1.2)) by
argmax(W_k x + b_k), with the entries of W_k and b_k ~ N(u_k, 1), u_k ~ N(0, alpha), those of
v_k ~ N(B_k, 1), B_k ~ N(0, beta). alpha says how much models differ, beta how much data. The IID
set has one W and b, and v = 0. Sizes are lognormal(4, 2) + 50, of which nine tenths are trained on.
``alpha`` and ``beta`` are standard deviations here, as in the authors' own generator.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common.arrays import Floats, Floats32
from common.compiled import compiled
from common.model_messages import Weights
from common.rng import generator
from fl_client.participant import Participant
from fl_client.training import Hook, TrainResult
from fl_server.strategy import Option
from simulations.benchmarks.truth.federation import Federation, participants, some

DEVICES, FEATURES, CLASSES = 30, 60, 10
BATCH, EPOCHS, RATE = 10, 20, 0.01
ASKED = 10
"""Of 30 devices a round."""


@dataclass(frozen=True)
class Device:
    """Points (n, 60) and classes (n,) to train on, and those held out."""

    x: Floats32
    y: np.ndarray
    test_x: Floats32
    test_y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)

    @property
    def batches(self) -> int:
        """Steps of one epoch."""
        return -(-len(self.y) // BATCH)


def synthetic(
    alpha: float, beta: float, seed: int, iid: bool = False, most: int = 0
) -> list[Device]:
    """Draw the devices. ``most``: points of a device at most, 0: as the paper draws them."""
    sizes = generator(seed, "", 0, "synthetic sizes").lognormal(4.0, 2.0, DEVICES).astype(int) + 50
    if most:
        sizes = np.minimum(sizes, most)
    deviation = np.arange(1, FEATURES + 1) ** -0.6
    shared = generator(seed, "", 0, "synthetic model")
    model = shared.standard_normal((FEATURES, CLASSES)), shared.standard_normal(CLASSES)
    made = []
    for k, size in enumerate(sizes):
        rng = generator(seed, f"H{k:02d}", 0, "synthetic")
        u, b = rng.normal(0.0, alpha), rng.normal(0.0, beta)
        weights, bias, centre = model[0], model[1], np.zeros(FEATURES)
        if not iid:
            centre = rng.normal(b, 1.0, FEATURES)
            weights, bias = rng.normal(u, 1.0, (FEATURES, CLASSES)), rng.normal(u, 1.0, CLASSES)
        x = centre + deviation * rng.standard_normal((size, FEATURES))
        y = np.argmax(x @ weights + bias, axis=1)
        cut = int(0.9 * size)
        points = x.astype(np.float32)
        made.append(Device(points[:cut], y[:cut], points[cut:], y[cut:]))
    return made


@compiled
def _gradient(x, y, rows, w, b, grad_w, grad_b):  # type: ignore[no-untyped-def]
    """Gradient of the mean cross-entropy of some rows, into grad_w and grad_b; their loss."""
    grad_w[:] = 0.0
    grad_b[:] = 0.0
    loss = 0.0
    share = np.float32(1.0 / len(rows))
    score = np.empty(b.shape[0], np.float32)
    for row in rows:
        score[:] = b
        for j in range(w.shape[0]):
            for c in range(w.shape[1]):
                score[c] += x[row, j] * w[j, c]
        top = score.max()
        total = np.float32(0.0)
        for c in range(score.shape[0]):
            score[c] = np.exp(score[c] - top)
            total += score[c]
        loss -= np.log(score[y[row]] / total + 1e-30)
        for c in range(score.shape[0]):
            score[c] = score[c] / total * share
        score[y[row]] -= share
        grad_b += score
        for j in range(w.shape[0]):
            for c in range(w.shape[1]):
                grad_w[j, c] += x[row, j] * score[c]
    return loss / len(rows)


class Softmax(nn.Module):
    """The classifier's weights (60, 10) and bias (10)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(FEATURES, CLASSES))
        self.bias = nn.Parameter(torch.zeros(CLASSES))


class Classifier(Participant):
    """A participant whose steps are of plain gradient descent on a device's points.

    All but the steps is the product's: what strategies add to gradients, keep and send.
    """

    def _update(  # type: ignore[override]
        self, device: Device, steps: int, round_: int, hooks: list[Hook], purpose: str = ""
    ) -> TrainResult:
        model = self.model
        assert isinstance(model, Softmax)
        w, b = (p.detach().numpy() for p in (model.weight, model.bias))
        grad_w, grad_b = np.zeros_like(w), np.zeros_like(b)
        rate = np.float32(self.training.learning_rate)
        for hook in hooks:
            hook.begin(model)
        rng = generator(self.seed, f"{purpose}{self.name}", round_, "batches")
        losses, order = 0.0, np.zeros(0, np.int64)
        for step in range(steps):
            at = step % device.batches * BATCH
            if at == 0:
                order = rng.permutation(len(device))
            losses += _gradient(device.x, device.y, order[at : at + BATCH], w, b, grad_w, grad_b)
            if hooks:
                model.weight.grad, model.bias.grad = map(torch.from_numpy, (grad_w, grad_b))
                for hook in hooks:
                    hook.gradients(model)
            w -= rate * grad_w
            b -= rate * grad_b
            for hook in hooks:
                hook.stepped(model)
        return TrainResult(len(device), losses / steps, steps, 0.0)


@dataclass(frozen=True)
class Curve:
    """Of the model after each round: mean training loss, test accuracy, and how far the devices'
    gradients are from their mean, E ||grad F_k - grad f||^2, all weighted by points.
    """

    loss: Sequence[float]
    accuracy: Sequence[float]
    dissimilarity: Sequence[float]

    def end(self, values: Sequence[float]) -> float:
        """Mean of the last five rounds: a third of the devices is asked in each."""
        return float(np.mean(values[-5:]))


def measure(devices: Sequence[Device], weights: Weights) -> tuple[float, float, float]:
    """(loss, accuracy, dissimilarity) of a model."""
    w, b = np.array(weights["weight"]), np.array(weights["bias"])
    sizes = np.array([len(one) for one in devices])
    losses, gradients, right = [], [], 0
    for one in devices:
        grad_w, grad_b = np.zeros_like(w), np.zeros_like(b)
        losses.append(_gradient(one.x, one.y, np.arange(len(one)), w, b, grad_w, grad_b))
        gradients.append(np.append(grad_w.reshape(-1), grad_b))
        right += int((np.argmax(one.test_x @ w + b, axis=1) == one.test_y).sum())
    share = sizes / sizes.sum()
    stacked: Floats = np.stack(gradients).astype(np.float64)
    away = ((stacked - share @ stacked) ** 2).sum(axis=1)
    tests = sum(len(one.test_y) for one in devices)
    return float(share @ np.array(losses)), right / tests, float(share @ away)


def run(
    devices: Sequence[Device],
    strategy: str,
    options: dict[str, Option],
    rounds: int,
    seed: int,
    stragglers: float = 0.0,
    keep: bool = True,
) -> Curve:
    """Train by a strategy of the product as the paper does.

    ``stragglers``: share of the asked, drawn each round, that has time for fewer epochs: 1 to 20,
    uniform. ``keep``: what they send counts; else, as the paper has it for FedAvg, they are
    dropped.
    """
    found: list[tuple[float, float, float]] = []

    def steps(k: int, round_: int) -> int | None:
        epochs = EPOCHS
        if some(stragglers, seed, k, round_, "straggler"):
            if not keep:
                return None
            epochs = int(generator(seed, f"H{k:02d}", round_, "epochs").integers(1, EPOCHS + 1))
        return epochs * devices[k].batches

    with tempfile.TemporaryDirectory(prefix="fedwatt-truth-") as name:
        members = participants(Classifier, DEVICES, Softmax(), RATE, seed, Path(name))
        zeros = {
            "weight": np.zeros((FEATURES, CLASSES), np.float32),
            "bias": np.zeros(CLASSES, np.float32),
        }
        federation = Federation(members, devices, zeros, steps, ASKED / DEVICES, seed)
        federation.run(
            strategy, options, rounds, lambda _, weights: found.append(measure(devices, weights))
        )
    loss, accuracy, dissimilarity = (list(column) for column in zip(*found, strict=True))
    return Curve(loss, accuracy, dissimilarity)
