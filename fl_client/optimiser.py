"""The optimiser of local training: clip, then one step of AdamW or SGD.

Torch's functional forms compute it. The classes around them import torch's compiler when they are
first used, which takes seconds in every process, and keep account of each parameter apart.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

_SMALL = 2**20
"""Parameters; above, the copy that one vector of them takes costs more than it saves."""


class Optimiser:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) or plain SGD, with clipped gradients.

    ``rate`` may change between steps; ``decay`` is decoupled from it in AdamW; gradients longer
    than ``clip_norm`` are scaled down to it. The parameters of a small model become views of one
    vector, and their gradients of another: forty little tensors cost several times their
    arithmetic in bookkeeping. ``whole`` says that every parameter has a gradient in every step,
    which this needs; else one without is left alone.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        kind: Literal["adamw", "sgd"],
        *,
        rate: float,
        decay: float,
        clip_norm: float,
        whole: bool,
    ) -> None:
        self.rate = rate
        self._kind, self._decay, self._clip_norm = kind, decay, clip_norm
        self._one = whole and sum(p.numel() for p in parameters) <= _SMALL
        self._trained = [_as_one(parameters)] if self._one else list(parameters)
        self._moments = [
            (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device))
            for p in (self._trained if kind == "adamw" else ())
        ]

    def zero(self) -> None:
        """Forget the gradients of the last step."""
        for parameter in self._trained:
            if self._one and parameter.grad is not None:
                parameter.grad.zero_()
            else:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Clip the gradients and take a step."""
        moved = [i for i, p in enumerate(self._trained) if p.grad is not None]
        parameters: list[Tensor] = [self._trained[i] for i in moved]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        _clip(gradients, self._clip_norm)
        if self._kind == "sgd":
            sgd(
                parameters,
                gradients,
                [None] * len(moved),
                weight_decay=self._decay,
                momentum=0.0,
                lr=self.rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            return
        adamw(
            parameters,
            gradients,
            [self._moments[i][0] for i in moved],
            [self._moments[i][1] for i in moved],
            [],
            [self._moments[i][2] for i in moved],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate,
            weight_decay=self._decay,
            eps=1e-8,
            maximize=False,
        )


def _clip(gradients: Sequence[Tensor], norm: float) -> None:
    lengths = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    length = torch.linalg.vector_norm(torch.stack(lengths))
    share = (norm / (length + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(share)


def _as_one(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Let these parameters be views of one vector, and their gradients of its gradient."""
    one = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    one.grad = torch.zeros_like(one)
    first = 0
    for parameter in parameters:
        here = slice(first, first + parameter.numel())
        parameter.data = one.data[here].view(parameter.shape)
        parameter.grad = one.grad[here].view(parameter.shape)
        first = here.stop
    return one
