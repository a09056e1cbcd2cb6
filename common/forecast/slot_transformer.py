"""SlotTransformer: a token for each half hour to be forecast, carrying its own history.

A day's window cannot beat the mean of the last seven days, because what a home does at 18:00 is
told best by what it did at 18:00 before. Here the 48 tokens are the slots of the coming day; each
carries the load of its slot on each of the last 28 days, its calendar and the recent level. The
output corrects the mean of the last seven days. Loads are divided by the home's own mean of the
last 28 days, so a large and a small home, or the same home in summer and winter, look alike.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.forecast.presets import Preset
from common.forecast.streams import HORIZONS, QUANTILE_LEVELS, QUANTILES, SLOTS

DROPOUT = 0.1
DAYS = 28
_FLOOR = 0.05  # of the household's scale: an empty home has no level of its own
_CLIP = 8.0  # levels: a spike tells that there was one, not how large a correction to make


def _by_days_ago(past: Tensor) -> Tensor:
    """(B, 1344) in time order -> (B, 28, 48), first the day before the origin."""
    return past.view(len(past), DAYS, SLOTS).flip(1)


class StepHead(nn.Module):
    """Any step ahead from the same slot on earlier days: a learned mean of them plus a correction.

    The candidates are the slot's load on each of the last 7 days, on the same weekday of the last
    4 weeks, and its means of 7 and 28 days. A weighted mean keeps a time-of-use tariff exact.
    """

    CANDIDATES = 7 + 4 + 2

    def __init__(self, hidden: int, start_at: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(self.CANDIDATES + 1 + 4 + 1, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
        )
        self.out = nn.Linear(hidden, self.CANDIDATES + 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            self.out.bias[start_at] = 4.0

    def forward(self, days: Tensor, calendar: Tensor, steps: Tensor) -> Tensor:
        """days (B, 28, 48) in levels, calendar (B, n, 4), steps (n,) -> (B, n) in levels."""
        slot, weekday = steps % SLOTS, (steps // SLOTS) % 7
        daily = days[:, :7].index_select(2, slot).transpose(1, 2)  # (B, n, 7)
        week = torch.arange(1, 5, device=steps.device)[:, None] * 7 - 1 - weekday  # (4, n)
        weekly = days[:, week, slot].transpose(1, 2)  # (B, n, 4)
        mean7 = days[:, :7].mean(1)[:, slot, None]
        mean28 = days.mean(1)[:, slot, None]
        candidates = torch.cat([daily, weekly, mean7, mean28], -1)  # (B, n, 13)
        spread = days.std(1)[:, slot, None]
        ahead = (steps / HORIZONS["month"]).expand(len(days), -1)[..., None]
        tokens = torch.cat([candidates.clamp(-_CLIP, _CLIP), spread, calendar, ahead], -1)
        out = self.out(self.net(tokens))
        forecast: Tensor = (torch.softmax(out[..., :-1], -1) * candidates).sum(-1) + out[..., -1]
        return forecast


class SlotTransformer(nn.Module):
    """The 48 slots of the coming day attend to each other; weeks and months go step by step."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        width = preset.width
        # 28 lags, mean and spread of 7 and 28 days, calendar, level of 1 and 7 days, last load,
        # temperature of the last day and its change against the week
        self.embed = nn.Linear(DAYS + 4 + 4 + 3 + 2, width)
        self.position = nn.Parameter(torch.randn(SLOTS, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, preset.heads, preset.feedforward, DROPOUT, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, preset.layers, enable_nested_tensor=False)
        self.mean = nn.Linear(width, 1)
        self.quantiles = nn.Linear(width, len(QUANTILE_LEVELS))
        self.long = StepHead(preset.head, start_at=11)
        self.price = StepHead(preset.head, start_at=7)
        for last in (self.mean, self.quantiles):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self, inputs: Mapping[str, Tensor], horizons: tuple[str, ...] = tuple(HORIZONS)
    ) -> dict[str, Tensor]:
        """``past`` (B, 1344, 3), ``calendar`` (B, >= longest horizon, 4) -> streams (B, n).

        ``week_steps`` and ``month_steps`` choose steps of the long streams; else all are made.
        """
        past, calendar = inputs["past"], inputs["calendar"]
        load, price = _by_days_ago(past[..., 0]), _by_days_ago(past[..., 1])
        temperature = _by_days_ago(past[..., 2])
        level = load.mean((1, 2)).clamp_min(_FLOOR)[:, None]  # (B, 1)
        price_level = price.abs().mean((1, 2)).clamp_min(_FLOOR)[:, None]
        load, price = load / level[..., None], price / price_level[..., None]
        streams = {}
        for name in horizons:
            steps = inputs.get(f"{name}_steps")
            if steps is None:
                steps = torch.arange(HORIZONS[name], device=past.device)
            ahead = calendar[:, steps]
            if name == "day":
                day, quantiles = self._day(load, temperature, ahead)
                streams["consumption_day"] = day * level
                streams[QUANTILES] = quantiles * level[..., None]
            else:
                streams[f"consumption_{name}"] = self.long(load, ahead, steps) * level
            streams[f"price_{name}"] = self.price(price, ahead, steps) * price_level
        return streams

    def _day(self, load: Tensor, temperature: Tensor, ahead: Tensor) -> tuple[Tensor, Tensor]:
        clipped = load.clamp(-_CLIP, _CLIP)
        mean7, mean28 = load[:, :7].mean(1), load.mean(1)  # (B, 48)
        spread7, spread28 = clipped[:, :7].std(1), clipped.std(1)
        scalars = torch.stack(
            [clipped[:, 0].mean(1), clipped[:, :7].mean((1, 2)), clipped[:, 0, -1]], 1
        )
        scalars = scalars[:, None].expand(-1, SLOTS, -1)
        now = temperature[:, 0]
        tokens = torch.cat(
            [
                clipped.transpose(1, 2),
                torch.stack([mean7, mean28, spread7, spread28], -1).clamp(-_CLIP, _CLIP),
                ahead,
                scalars,
                torch.stack([now, now - temperature[:, :7].mean(1)], -1),
            ],
            -1,
        )
        z = self.encoder(self.embed(tokens) + self.position)  # (B, 48, width)
        day = mean7 + self.mean(z)[..., 0]
        spread = torch.stack([spread28 * 0 + mean28] * len(QUANTILE_LEVELS), 1)
        return day, spread + self.quantiles(z).transpose(1, 2)
