"""The training loss: weighted over streams, blind where a target is not known yet."""

from collections.abc import Mapping

import torch
from torch import Tensor

from common.forecast.streams import (
    HORIZON_WEIGHT,
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
    consumption adds their mean pinball loss.
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
    return losses


def total_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """Sum over streams of horizon weight x task weight x loss; quantiles count as the day does."""
    total = torch.zeros(())
    for stream, loss in losses.items():
        kind, name = STREAMS.get(stream, ("consumption", "day"))
        total = total + HORIZON_WEIGHT[name] * TASK_WEIGHT[kind] * loss
    return total
