"""The training loss: weighted over streams, blind where a target is not known yet.

``training_loss`` is ``total_loss`` of ``stream_losses`` without the streams' own losses, which
training does not ask for, and without autograd's record of how they came about.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from common.forecast.net_inputs import LEVELS
from common.forecast.streams import (
    HORIZON_WEIGHT,
    NET,
    QUANTILE_LEVELS,
    QUANTILES,
    STREAMS,
    TASK_WEIGHT,
)


def pinball(forecast: Tensor, actual: Tensor, levels: Tensor) -> Tensor:
    """Quantile loss of (B, Q, n) forecasts against (B, n), elementwise."""
    error = actual[:, None] - forecast
    return torch.maximum(levels[:, None] * error, (levels[:, None] - 1.0) * error)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the elements where ``mask`` is 1; 0 where there are none."""
    return (values * mask).sum() / mask.sum().clamp_min(1.0)


def stream_losses(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Loss of each stream: squared error for consumption, absolute error for price.

    A stream without a known target counts 0. A model that also gives quantiles of the day's
    consumption adds their mean pinball loss; one that corrects own days adds that of net load.
    """
    losses = {}
    for stream, (kind, _) in STREAMS.items():
        error = outputs[stream] - targets[stream]
        losses[stream] = masked_mean(
            error.square() if kind == "consumption" else error.abs(), masks[stream]
        )
    if QUANTILES in outputs:
        quantiles = outputs[QUANTILES]
        levels = torch.tensor(QUANTILE_LEVELS, dtype=quantiles.dtype, device=quantiles.device)
        each = pinball(quantiles, targets["consumption_day"], levels).mean(1)
        losses[QUANTILES] = masked_mean(each, masks["consumption_day"])
    if NET in outputs:
        levels = torch.tensor(LEVELS, dtype=outputs[NET].dtype, device=outputs[NET].device)
        losses[NET] = masked_mean(pinball(outputs[NET], targets[NET], levels).mean(1), masks[NET])
    return losses


def total_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """Sum over streams of horizon weight x task weight x loss; quantiles count as the day does."""
    total = torch.zeros(())
    for stream, loss in losses.items():
        kind, name = STREAMS.get(stream, ("consumption", "day"))
        total = total + HORIZON_WEIGHT[name] * TASK_WEIGHT[kind] * loss
    return total


class _WeightedLoss(torch.autograd.Function):
    """The loss and, in the same pass, its gradient by each output."""

    @staticmethod
    def forward(ctx: Any, streams: list[str], known: list[Tensor], *outputs: Tensor) -> Tensor:
        total = torch.zeros((), device=known[0].device)
        gradients = []
        for i, (stream, output) in enumerate(zip(streams, outputs, strict=True)):
            target, weight = known[2 * i : 2 * i + 2]
            output = output.float()
            if stream in (QUANTILES, NET):
                of = QUANTILE_LEVELS if stream == QUANTILES else LEVELS
                levels = torch.tensor(of, device=output.device)[:, None]
                error = target[:, None] - output
                slope = (levels - (error < 0).float()).mul_(weight[:, None] / len(levels))
                gradients.append(slope.neg())
            else:
                error = output - target
                squares = STREAMS[stream][0] == "consumption"
                slope = (error if squares else error.sign()) * weight
                gradients.append(slope * 2 if squares else slope)
            total += slope.flatten().dot(error.flatten())
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradients[0] * saved for saved in ctx.saved_tensors)


def training_loss(
    outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> Tensor:
    """Total loss of outputs (B, n) with the weights (B, n) of a batch; quantiles are (B, Q, n)."""
    streams = [name for name in outputs if name in targets or name == QUANTILES]
    known = []
    for name in streams:
        of = "consumption_day" if name == QUANTILES else name
        known += [targets[of], weights[of]]
    made = [outputs[name] for name in streams]
    loss: Tensor = _WeightedLoss.apply(streams, known, *made)  # type: ignore[no-untyped-call]
    return loss
