"""Corrections of a home's own days: net load of the next hours as the model would have it.

A fresh head corrects nothing, so that what a home plans with starts from its own days and leaves
them only as far as what all homes have learned together says so.
"""

import torch
from torch import Tensor, nn

from common.forecast.net_inputs import INPUTS, SCENARIOS

_FAR = 5.0  # units of a home's mean load: beyond, how far does not matter
_SINGLE, _COMMON = 0.3, 0.5  # of the outputs: a step of Adam then moves a quantile by little
_PACE = 4.0  # of the other layers' learning rate, at which this head learns too slowly


class _Paced(nn.Linear):
    """A linear layer that a step of Adam moves ``_PACE`` times as far."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        with torch.no_grad():
            self.weight.div_(_PACE)
            self.bias.div_(_PACE)

    def forward(self, x: Tensor) -> Tensor:
        return _PACE * super().forward(x)


class NetHead(nn.Module):
    """Each step on its own: 90 inputs -> corrections of 14 sorted quantiles, in the same units."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.enter = _Paced(INPUTS, hidden)
        self.inner = _Paced(hidden, hidden)
        self.out = _Paced(hidden, SCENARIOS + 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, inputs: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """inputs (..., 90), own and other (..., 14) sorted scenarios -> what to add to ``own``.

        Of each quantile: a shift of its own, a common one, a share of its distance from the mean,
        and a share of the way to the same quantile of the other set of days.
        """
        x = nn.functional.gelu(self.enter(inputs.clamp(-_FAR, _FAR)))
        x = x + nn.functional.gelu(self.inner(x))
        out = self.out(x)
        single, common, spread, over = out.split([SCENARIOS, 1, 1, 1], -1)
        moved = torch.tanh(over) * (other - own)
        values = own + moved
        wider = spread * (values - values.mean(-1, keepdim=True))
        corrections: Tensor = moved + _SINGLE * single + _COMMON * common + wider
        return corrections
