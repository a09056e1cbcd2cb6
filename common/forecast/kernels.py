"""Two steps of the slot model with gradients written by hand, where autograd copies too much."""

from typing import Any

import torch
from torch import Tensor


def mixture(scores: Tensor, candidates: Tensor) -> Tensor:
    """Return a weighted mean of candidates (C, ...), which carry no gradient, plus a correction.

    ``scores`` (C + 1, ...): the weights are softmax of the first C, the last is the correction.
    """
    mixed: Tensor = _Mixture.apply(scores, candidates)  # type: ignore[no-untyped-call]
    return mixed


def attention(projected: Tensor) -> Tensor:
    """Scaled dot-product attention of (3, T, N, d) queries, keys and values: (T, N, d).

    Vaswani et al. 2017, equation 1. Torch's own kernel takes twice the time for 24 tokens.
    """
    attended: Tensor = _Attention.apply(projected)  # type: ignore[no-untyped-call]
    return attended


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, candidates: Tensor) -> Tensor:
        weights = scores[:-1].softmax(0)
        mean = (weights * candidates).sum(0)
        ctx.save_for_backward(weights, candidates, mean)
        return mean + scores[-1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # d mean / d score_c = weight_c (candidate_c - mean)
        weights, candidates, mean = ctx.saved_tensors
        back = gradients[0].new_empty((len(weights) + 1, *mean.shape))
        torch.sub(candidates, mean, out=back[:-1]).mul_(weights).mul_(gradients[0])
        back[-1] = gradients[0]
        return back, None


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor) -> Tensor:
        query, key, value = projected.transpose(1, 2)
        scale = query.shape[-1] ** -0.5
        scores = torch.bmm(query, key.transpose(1, 2)).mul_(scale)
        weights = scores.softmax(-1)
        ctx.save_for_backward(projected, weights)
        return torch.bmm(weights, value).transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        projected, weights = ctx.saved_tensors
        query, key, value = projected.transpose(1, 2)
        scale = query.shape[-1] ** -0.5
        gradient = gradients[0].transpose(0, 1)
        back = torch._softmax_backward_data(
            torch.bmm(gradient, value.transpose(1, 2)), weights, -1, weights.dtype
        ).mul_(scale)
        own = torch.stack(
            [
                torch.bmm(back, key),
                torch.bmm(back.transpose(1, 2), query),
                torch.bmm(weights.transpose(1, 2), gradient),
            ]
        )
        return own.transpose(1, 2)
