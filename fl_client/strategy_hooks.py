"""What aggregation strategies change in local training: terms added to the gradient.

Each hook is exact for any number of local steps and any optimiser: it changes the gradient that
the optimiser sees, step by step.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_client.training import Hook

Weights = Mapping[str, NDArray[np.float32]]


def _tensors(weights: Weights, model: nn.Module) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    return {name: torch.from_numpy(np.array(value)).to(device) for name, value in weights.items()}


class Proximal(Hook):
    """Adds the gradient of mu/2 ||w - anchor||^2, that is mu (w - anchor).

    The anchor is the model at the first step (FedProx: Li et al. 2020, arXiv:1812.06127), or
    other weights (Ditto: the global model).
    """

    def __init__(self, mu: float, anchor: Weights | None = None) -> None:
        self.mu = mu
        self._given = anchor
        self._anchor: dict[str, Tensor] = {}

    def begin(self, model: nn.Module) -> None:
        """Take the anchor."""
        if self._given is not None:
            self._anchor = _tensors(self._given, model)
        else:
            self._anchor = {n: p.detach().clone() for n, p in model.named_parameters()}

    def gradients(self, model: nn.Module) -> None:
        """Add mu (w - anchor)."""
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - self._anchor[name], alpha=self.mu)


class ControlVariates(Hook):
    """SCAFFOLD (Karimireddy et al. 2020, arXiv:1910.06378): g - c_i + c in place of g.

    ``mean_gradient`` afterwards is the new c_i: the mean of the household's own gradients over
    its local steps. With plain SGD at rate eta that is the paper's option II,
    c_i - c + (x - y) / (K eta); unlike that formula it also holds for AdamW, whose steps are not
    multiples of gradients.
    """

    def __init__(self, server: Weights, own: Weights) -> None:
        self._shift = {name: np.asarray(server[name]) - np.asarray(own[name]) for name in server}
        self._add: dict[str, Tensor] = {}
        self._sum: dict[str, Tensor] = {}
        self.steps = 0

    def begin(self, model: nn.Module) -> None:
        """Bring the variates to the model's device."""
        self._add = _tensors(self._shift, model)
        self._sum = {n: torch.zeros_like(p) for n, p in model.named_parameters()}

    def gradients(self, model: nn.Module) -> None:
        """Remember the household's gradient, then correct it."""
        self.steps += 1
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                self._sum[name].add_(parameter.grad)
                parameter.grad.add_(self._add[name])

    def mean_gradient(self) -> dict[str, NDArray[np.float32]]:
        """Mean gradient over the steps taken; raises ValueError where there were none."""
        if self.steps == 0:
            raise ValueError("no step was taken")
        return {n: (s / self.steps).cpu().numpy() for n, s in self._sum.items()}


class HeadThenBody(Hook):
    """FedRep (Collins et al. 2021, arXiv:2102.07078): first the personal layers, then the rest.

    A parameter without gradient is left alone by the optimiser, weight decay included.
    """

    rests = True

    def __init__(self, personal: Sequence[str], head_steps: int) -> None:
        self._personal = tuple(personal)
        self._left = head_steps

    def gradients(self, model: nn.Module) -> None:
        """Drop the gradients of the part that rests in this step."""
        head = self._left > 0
        for name, parameter in model.named_parameters():
            if name.startswith(self._personal) != head:
                parameter.grad = None

    def stepped(self, model: nn.Module) -> None:
        """Count the step."""
        self._left -= 1
