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
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.forecast.presets import Preset
from common.forecast.streams import HORIZONS, QUANTILE_LEVELS, QUANTILES, SLOTS

DAYS = 28
_PATCH = 2  # slots in a token
_FLOOR = 0.05  # of the household's scale: an empty home has no level of its own
_SEASON_UNIT = 1 / 3  # of the season's inputs: one step of Adam then has a season's effect
_CLIP = 8.0  # levels: a spike tells that there was one, not how large a correction to make


def _by_days_ago(past: Tensor) -> Tensor:
    """(B, 1344) in time order -> (B, 28, 48), first the day before the origin."""
    return past.view(len(past), DAYS, SLOTS).flip(1)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Past(NamedTuple):
    """The last 28 days by slot, and what they have in common: (B, 28, 48), and (B, 48) each."""

    days: Tensor
    clipped: Tensor
    mean7: Tensor
    mean28: Tensor
    spread7: Tensor
    spread28: Tensor


def _summarise(days: Tensor) -> Past:
    clipped = days.clamp(-_CLIP, _CLIP)
    week = clipped[:, :7]
    return Past(days, clipped, days[:, :7].mean(1), days.mean(1), _spread(week), _spread(clipped))


def _spread(days: Tensor) -> Tensor:
    # Twice as fast as Tensor.std over a strided dimension.
    return (days - days.mean(1, keepdim=True)).square().mean(1).sqrt()


class StepHead(nn.Module):
    """Any step ahead from the same slot on earlier days: a learned mean of them plus a correction.

    The candidates are the slot's value on each of the last 7 days, on the same weekday of the last
    4 weeks, its mean of 28 days, and its mean of 7 days, or their ``median``: prices move between
    a few steps, and a mean of steps is none of them. A weighted mean keeps a time-of-use tariff
    exact. Fresh weights start near the candidate ``start_at``.
    """

    CANDIDATES = 7 + 4 + 2

    def __init__(self, hidden: int, start_at: int, *, median: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(self.CANDIDATES + 1 + 4 + 1, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
        )
        self.out = _zero(nn.Linear(hidden, self.CANDIDATES + 1))
        self.season = _zero(nn.Linear(2, 1, bias=False))
        self.median = median
        with torch.no_grad():
            self.out.bias[start_at] = 4.0

    def forward(self, past: "Past", ahead: Tensor, steps: Tensor) -> Tensor:
        """past in levels, ahead (B, n, 6), steps (n,) -> (B, n) in levels."""
        days = past.days
        slot, weekday = steps % SLOTS, (steps // SLOTS) % 7
        daily = days[:, :7].index_select(2, slot).transpose(1, 2)  # (B, n, 7)
        week = torch.arange(1, 5, device=steps.device)[:, None] * 7 - 1 - weekday  # (4, n)
        weekly = days[:, week, slot].transpose(1, 2)  # (B, n, 4)
        mean28 = past.mean28[:, slot, None]
        usual = past.days[:, :7].median(1).values if self.median else past.mean7
        candidates = torch.cat([daily, weekly, usual[:, slot, None], mean28], -1)  # (B, n, 13)
        far = (steps / HORIZONS["month"]).expand(len(days), -1)[..., None]
        tokens = torch.cat(
            [candidates.clamp(-_CLIP, _CLIP), past.spread28[:, slot, None], ahead[..., :4], far], -1
        )
        out = self.out(self.net(tokens))  # (B, n, 14)
        mean = (torch.softmax(out[..., :-1], -1) * candidates).sum(-1)
        season = self.season(ahead[..., 4:] / _SEASON_UNIT)[..., 0] * mean28[..., 0]
        forecast: Tensor = mean + out[..., -1] + season
        return forecast


class SlotTransformer(nn.Module):
    """The hours of the coming day attend to each other; weeks and months go step by step."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.width
        # Of each slot: 28 loads, mean and spread of 7 and 28 days. Of the token: calendar, level
        # of the last day and the last 7, last load.
        self.embed = nn.Linear(_PATCH * (DAYS + 4) + 4 + 3, width)
        self.position = nn.Parameter(torch.randn(SLOTS // _PATCH, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, preset.heads, preset.feedforward, 0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, preset.layers, enable_nested_tensor=False)
        # Of each slot: weights of 28 days and of the means of 7 and 28 days, and a correction.
        self.mean = _zero(nn.Linear(width, _PATCH * (DAYS + 3)))
        with torch.no_grad():
            self.mean.bias.view(_PATCH, -1)[:, DAYS] = 3.0
        self.quantiles = _zero(nn.Linear(width, _PATCH * len(QUANTILE_LEVELS)))
        # Change of brightness, of day length, of temperature since last week and last month.
        self.season = _zero(nn.Linear(4, 1, bias=False))
        self.long = StepHead(preset.head, start_at=12)
        self.price = StepHead(preset.head, start_at=11, median=True)

    def forward(
        self, inputs: Mapping[str, Tensor], horizons: tuple[str, ...] = tuple(HORIZONS)
    ) -> dict[str, Tensor]:
        """``past`` (B, 1344, 3) and ``*_ahead`` (B, n, 6) of each horizon -> streams (B, n).

        ``week_steps`` and ``month_steps`` (n,) choose steps of the long streams; else all are made.
        """
        past = inputs["past"]
        load, price = _by_days_ago(past[..., 0]), _by_days_ago(past[..., 1])
        level = load.mean((1, 2)).clamp_min(_FLOOR)[:, None]  # (B, 1)
        price_level = price.abs().mean((1, 2)).clamp_min(_FLOOR)[:, None]
        loads = _summarise(load / level[..., None])
        prices = _summarise(price / price_level[..., None])
        ahead = {name: inputs[f"{name}_ahead"] for name in horizons}
        steps = {name: self._steps(inputs, name, past.device) for name in horizons}
        streams = {}
        if "day" in horizons:
            day, quantiles = self._day(loads, _by_days_ago(past[..., 2]), ahead["day"])
            streams["consumption_day"] = day * level
            streams[QUANTILES] = quantiles * level[..., None]
        for kind, head, made, unit, names in (
            ("consumption", self.long, loads, level, [n for n in horizons if n != "day"]),
            ("price", self.price, prices, price_level, list(horizons)),
        ):
            if not names:
                continue
            # All horizons in one pass: each step is on its own.
            at = torch.cat([steps[name] for name in names])
            every = head(made, torch.cat([ahead[name] for name in names], 1), at) * unit
            parts = every.split([len(steps[name]) for name in names], 1)
            streams |= {f"{kind}_{name}": part for name, part in zip(names, parts, strict=True)}
        return streams

    @staticmethod
    def _steps(inputs: Mapping[str, Tensor], name: str, device: torch.device) -> Tensor:
        given = inputs.get(f"{name}_steps")
        return torch.arange(HORIZONS[name], device=device) if given is None else given

    def _day(self, past: Past, temperature: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        """Past load in levels -> mean (B, 48) and quantiles (B, Q, 48) in levels."""
        load, clipped = past.days, past.clipped
        count, tokens = len(load), SLOTS // _PATCH
        means = torch.stack([past.mean7, past.mean28], -1)  # (B, 48, 2)
        spreads = torch.stack([past.spread7, past.spread28], -1)
        slots = torch.cat([clipped.transpose(1, 2), means.clamp(-_CLIP, _CLIP), spreads], -1)
        recent = torch.stack(
            [clipped[:, 0].mean(1), clipped[:, :7].mean((1, 2)), clipped[:, 0, -1]], 1
        )
        x = torch.cat(
            [
                slots.reshape(count, tokens, -1),
                ahead[:, ::_PATCH, :4],
                recent[:, None].expand(-1, tokens, -1),
            ],
            -1,
        )
        z = self.encoder(self.embed(x) + self.position)  # (B, 24, width)
        out = self.mean(z).view(count, SLOTS, DAYS + 3)
        candidates = torch.cat([load.transpose(1, 2), means], -1)  # (B, 48, 30)
        mean = (torch.softmax(out[..., :-1], -1) * candidates).sum(-1) + out[..., -1]
        daily = temperature.mean(2)  # (B, 28)
        week = daily[:, :7].mean(1)
        warmer = torch.stack([daily[:, 0] - week, week - daily.mean(1)], 1)
        change = torch.cat([ahead[..., 4:], warmer[:, None].expand(-1, SLOTS, -1)], -1)
        season = self.season(change / _SEASON_UNIT)[..., 0] * past.mean28  # (B, 48)
        # Quantiles start from those of the slot's last 28 days.
        levels = torch.tensor(QUANTILE_LEVELS, device=load.device) * (DAYS - 1)
        low = levels.long()
        ordered = load.sort(1).values
        usual = torch.lerp(ordered[:, low], ordered[:, low + 1], (levels - low)[:, None])
        shift = self.quantiles(z).view(count, SLOTS, -1).transpose(1, 2)
        return mean + season, usual + shift + season[:, None]
