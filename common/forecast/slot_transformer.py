"""SlotTransformer: a token for each hour to be forecast, carrying what that hour was like before.

A day's window cannot beat the mean of the last seven days, because what a home does at 18:00 is
told best by what it did at 18:00 before. Here the tokens are the hours of the coming day; each
carries the load of its two slots on each of the last 28 days, by the wall clock, its calendar and
the recent level. The forecast is a weighted mean of those loads, with weights the network gives,
plus a correction. Loads are divided by the home's own mean of the last 28 days, so a large and a
small home, or the same home in summer and winter, look alike.

The mean of past weeks trails a load that drifts with the season. What the drift depends on, the
change of daylight and temperature, enters linearly: in autumn it takes values that spring never
showed, and a linear term can be trusted there while a network cannot.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.forecast.kernels import attention, mixture
from common.forecast.net_head import NetHead
from common.forecast.presets import Preset
from common.forecast.slot_inputs import (
    CANDIDATES,
    DAY_CANDIDATES,
    DAYS,
    HEAD_WIDTH,
    PATCH,
    TOKEN_WIDTH,
    TOKENS,
)
from common.forecast.streams import HORIZONS, NET, QUANTILE_LEVELS, QUANTILES, SLOTS


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _columns(layer: nn.Module, columns: Tensor) -> Tensor:
    """A linear layer over (in, N) columns -> (out, N)."""
    assert isinstance(layer, nn.Linear)
    return torch.addmm(layer.bias[:, None], layer.weight, columns)


def encode(layer: nn.TransformerEncoderLayer, tokens: Tensor, windows: int) -> Tensor:
    """One encoder layer, pre-norm, over (24 B, width) tokens in the order of (24, B)."""
    width, own = tokens.shape[1], layer.self_attn
    normed = functional.layer_norm(tokens, (width,), layer.norm1.weight, layer.norm1.bias)
    projected = torch.baddbmm(
        own.in_proj_bias.view(3, 1, width),
        normed.expand(3, -1, -1),
        own.in_proj_weight.view(3, width, width).transpose(1, 2),
    )
    heads = projected.view(3, TOKENS, windows * own.num_heads, -1)
    attended = attention(heads).reshape(-1, width)
    tokens = tokens + functional.linear(attended, own.out_proj.weight, own.out_proj.bias)
    normed = functional.layer_norm(tokens, (width,), layer.norm2.weight, layer.norm2.bias)
    hidden = functional.relu(functional.linear(normed, layer.linear1.weight, layer.linear1.bias))
    return tokens + functional.linear(hidden, layer.linear2.weight, layer.linear2.bias)


class StepHead(nn.Module):
    """Any step ahead from the same slot on earlier days: a learned mean of them plus a correction.

    The candidates are the slot's value on each of the last 7 days, on the same weekday of the last
    4 weeks, its mean of 28 days, and its mean of 7 days, or their median: prices move between
    a few steps, and a mean of steps is none of them. A weighted mean keeps a time-of-use tariff
    exact. Fresh weights start near the candidate ``start_at``.
    """

    def __init__(self, hidden: int, start_at: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(HEAD_WIDTH, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.out = _zero(nn.Linear(hidden, CANDIDATES + 1))
        self.season = _zero(nn.Linear(2, 1, bias=False))
        with torch.no_grad():
            self.out.bias[start_at] = 4.0

    def forward(self, tokens: Tensor, candidates: Tensor, season: Tensor) -> Tensor:
        """tokens (19, n, B), candidates (13, n, B), season (2, n, B) -> (n, B) in levels."""
        hidden = functional.gelu(_columns(self.net[0], tokens.flatten(1)))
        hidden = functional.gelu(_columns(self.net[2], hidden))
        out = _columns(self.out, hidden)  # (14, n B)
        mixed = mixture(out, candidates.flatten(1))
        forecast = mixed + (self.season.weight @ season.flatten(1))[0]
        return forecast.view(tokens.shape[1:])


class SlotTransformer(nn.Module):
    """The hours of the coming day attend to each other; weeks and months go step by step."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.width
        self.embed = nn.Linear(TOKEN_WIDTH, width)
        self.position = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        # Torch's layer holds the weights; ``encode`` computes it, in a third of the time.
        layer = nn.TransformerEncoderLayer(
            width, preset.heads, preset.feedforward, 0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, preset.layers, enable_nested_tensor=False)
        # Of each slot: weights of its candidates, and a correction.
        self.mean = _zero(nn.Linear(width, PATCH * (DAY_CANDIDATES + 1)))
        with torch.no_grad():
            self.mean.bias.view(PATCH, -1)[:, DAYS] = 3.0
        self.quantiles = _zero(nn.Linear(width, PATCH * len(QUANTILE_LEVELS)))
        # Change of brightness, of day length, of temperature since last week and last month.
        self.season = _zero(nn.Linear(4, 1, bias=False))
        self.long = StepHead(preset.head, start_at=12)
        self.price = StepHead(preset.head, start_at=11)
        self.net = NetHead(width)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``slot_inputs`` of some horizons -> their streams (B, n) and quantiles (B, Q, 48).

        With ``net_inputs``, ``net_own`` and ``net_other`` also quantiles (B, 14, K) of net load.
        """
        level, unit = inputs["load_level"][:, None], inputs["price_level"][:, None]
        steps = {n: len(inputs[f"{n}_steps"]) for n in HORIZONS if f"{n}_steps" in inputs}
        far = {name: count for name, count in steps.items() if name != "day"}
        streams = {}
        if "day" in steps:
            day, quantiles = self._day(inputs)
            streams["consumption_day"] = day * level
            streams[QUANTILES] = quantiles * level[..., None]
        if far:
            streams |= _streams("consumption", self._step(self.long, "long", inputs), level, far)
        streams |= _streams("price", self._step(self.price, "price", inputs), unit, steps)
        if "net_inputs" in inputs:
            own = inputs["net_own"]
            moved = self.net(inputs["net_inputs"], own, inputs["net_other"])
            streams[NET] = (own + moved).transpose(1, 2)
        return streams

    @staticmethod
    def _step(head: StepHead, kind: str, inputs: Mapping[str, Tensor]) -> Tensor:
        forecast: Tensor = head(
            *(inputs[f"{kind}_{p}"] for p in ("tokens", "candidates", "season"))
        )
        return forecast

    def _day(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean (B, 48) and quantiles (B, Q, 48) in levels."""
        tokens, usual = inputs["day_tokens"], inputs["day_quantiles"]
        windows = tokens.shape[2]
        z = functional.linear(tokens.flatten(1).t(), self.embed.weight, self.embed.bias)
        z = (z.view(TOKENS, windows, -1) + self.position[:, None]).flatten(0, 1)
        for layer in self.encoder.layers:
            z = encode(layer, z, windows)  # (24 B, width)
        out = _columns(self.mean, z.t()).view(PATCH, DAY_CANDIDATES + 1, -1).transpose(0, 1)
        mean = mixture(out, inputs["day_candidates"].flatten(2))
        season = (self.season.weight @ inputs["day_season"].flatten(1)).view(PATCH, -1)
        shift = _columns(self.quantiles, z.t()).view(PATCH, len(QUANTILE_LEVELS), -1)
        quantiles = usual.flatten(2) + shift.transpose(0, 1) + season
        return (
            (mean + season).view(PATCH, TOKENS, windows).permute(2, 1, 0).reshape(-1, SLOTS),
            quantiles.view(-1, PATCH, TOKENS, windows)
            .permute(3, 0, 2, 1)
            .reshape(windows, -1, SLOTS),
        )


def _streams(kind: str, made: Tensor, unit: Tensor, steps: Mapping[str, int]) -> dict[str, Tensor]:
    """(n, B) of several horizons in levels -> the stream (B, n) of each in units."""
    parts = torch.split(made.t() * unit, list(steps.values()), 1)
    return {f"{kind}_{name}": part for name, part in zip(steps, parts, strict=True)}
