"""The neural rows: each home alone, everyone's data pooled, and the federation, at equal work.

Equal work: every row takes as many gradient steps of the same batch size in all, ``rounds x homes
sampled x local steps``; each home alone takes its share, the pooled model takes them all one after
another.
The federation runs the household's own ``local_update`` and the server's own weighted sum.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from common import rng
from common.config import Training
from common.forecast.forecaster import Forecast, Forecaster, load_weights, weights_of
from common.forecast.presets import find_preset
from common.forecast.scalers import Scaler, fit_scaler
from common.forecast.transformer import build_model
from common.forecast.windows import Windows, pool, training_windows
from fl_client.personal import fine_tune, is_personal, with_personal
from fl_client.training import local_update
from fl_server.strategy.fixed_point import WeightedSum
from simulations.benchmarks.forecasts.panel import Panel, Rows, Span

Weights = dict[str, Any]
_TUNING_AT = 0.75  # fine-tuning takes the rate that training has after this share of its rounds


@dataclass(frozen=True)
class Plan:
    """How long everybody trains."""

    preset: str
    rounds: int
    local_steps: int
    batch_size: int
    learning_rate: float | None = None
    fraction: float = 1.0
    """Share of the homes that train in a round."""
    tune_head_steps: int = 20
    tune_all_steps: int = 20

    def sampled(self, homes: int) -> int:
        """Number of homes that train in a round."""
        return max(1, math.ceil(self.fraction * homes - 1e-9))

    def steps(self, homes: int) -> int:
        """Gradient steps of all homes together."""
        return self.rounds * self.local_steps * self.sampled(homes)


@dataclass(frozen=True)
class Trained:
    """One model, or one per home, and what it cost."""

    models: tuple[Weights, ...]
    seconds: float
    cpu_seconds: float
    steps: int
    bytes_sent: int
    notes: dict[str, Any] = field(default_factory=dict)

    def of(self, home: int) -> Weights:
        """The model that home number ``home`` forecasts with."""
        return self.models[home if len(self.models) > 1 else 0]


class _Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self._started = (time.perf_counter(), time.process_time())

    def read(self) -> tuple[float, float]:
        return (time.perf_counter() - self._started[0], time.process_time() - self._started[1])


def cosine(rate: float, done: float) -> float:
    """Learning rate after a share ``done`` of the steps: from ``rate`` down to its hundredth."""
    return rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


class Homes:
    """Training windows and scalers of the homes; no row of the scored span is read."""

    def __init__(self, panel: Panel, span: Span, plan: Plan, seed: int) -> None:
        self.names, self.plan, self.seed = panel.names, plan, seed
        self.scalers = [fit_scaler(h, 0, span.start) for h in panel.histories]
        self.windows = [
            training_windows(h, scaler, plan.preset, 0, span.start)
            for h, scaler in zip(panel.histories, self.scalers, strict=True)
        ]
        self._rate = plan.learning_rate or find_preset(plan.preset).learning_rate

    def training(self, done: float) -> Training:
        """Settings of local training after a share ``done`` of the rounds."""
        rate = cosine(self._rate, done)
        return Training(learning_rate=rate, batch_size=self.plan.batch_size, device="cpu")

    def fresh(self) -> torch.nn.Module:
        """The model everybody starts from."""
        with torch.random.fork_rng():
            torch.manual_seed(rng.torch_seed(self.seed, "", 0, "weights"))
            return build_model(self.plan.preset)

    def update(
        self, model: torch.nn.Module, windows: Windows, round_: int, name: str, steps: int
    ) -> None:
        """One short local training, as in a federated round."""
        local_update(
            model,
            windows,
            self.training(round_ / self.plan.rounds),
            steps=steps,
            seed=self.seed,
            household=name,
            round_=round_,
        )


def local_only(homes: Homes) -> Trained:
    """Each home trains by itself on its own windows."""
    clock, plan = _Clock(), homes.plan
    models = []
    for name, windows in zip(homes.names, homes.windows, strict=True):
        model = homes.fresh()
        for round_, steps in enumerate(_shares(plan, len(homes.names), 1)):
            homes.update(model, windows, round_, name, steps)
        models.append(weights_of(model))
    total = sum(_shares(plan, len(models), 1)) * len(models)
    return Trained(tuple(models), *clock.read(), total, 0)


def centralised(homes: Homes) -> Trained:
    """One model on everybody's windows, which all had to be collected for it."""
    clock, plan = _Clock(), homes.plan
    pooled, model = pool(homes.windows), homes.fresh()
    shares = _shares(plan, len(homes.names), len(homes.names))
    for round_, steps in enumerate(shares):
        homes.update(model, pooled, round_, "", steps)
    return Trained((weights_of(model),), *clock.read(), sum(shares), 0)


def _shares(plan: Plan, homes: int, among: int) -> list[int]:
    """Steps of each round for a row whose ``among`` of ``homes`` homes share one model."""
    each = plan.steps(homes) * among / homes
    marks = [round(each * (round_ + 1) / plan.rounds) for round_ in range(plan.rounds)]
    return [mark - before for mark, before in zip(marks, [0, *marks[:-1]], strict=True)]


def federated(homes: Homes, *, personal_layers: bool = False) -> Trained:
    """Federated averaging over a share of the homes, weighted by their numbers of windows.

    With ``personal_layers`` the last layers stay with the homes and only the rest is averaged.
    """
    clock, plan = _Clock(), homes.plan
    preset, model = find_preset(plan.preset), homes.fresh()
    shared = weights_of(model)
    own = [shared] * len(homes.names)
    sent = 0
    for round_ in range(plan.rounds):
        total = WeightedSum()
        for i in _sample(plan, homes.seed, round_, len(homes.names)):
            name, windows = homes.names[i], homes.windows[i]
            mine = with_personal(preset, shared, own[i]) if personal_layers else shared
            load_weights(model, mine)
            homes.update(model, windows, round_, name, plan.local_steps)
            trained = weights_of(model)
            if personal_layers:
                own[i] = trained
                trained = {k: v for k, v in trained.items() if not is_personal(preset, k)}
            total.add(trained, len(windows))
            sent += 2 * sum(array.nbytes for array in trained.values())
        shared = {**shared, **total.mean()}
    models = (
        tuple(with_personal(preset, shared, mine) for mine in own) if personal_layers else (shared,)
    )
    steps = plan.steps(len(homes.names))
    return Trained(models, *clock.read(), steps, sent)


def _sample(plan: Plan, seed: int, round_: int, homes: int) -> list[int]:
    draw = rng.generator(seed, "", round_, "sample train")
    return sorted(draw.choice(homes, plan.sampled(homes), replace=False).tolist())


def fine_tuned(homes: Homes, shared: Trained) -> Trained:
    """Every home tunes the shared model on its own windows, and keeps what helps it."""
    clock, plan = _Clock(), homes.plan
    models, kept = [], 0
    for i, (name, windows) in enumerate(zip(homes.names, homes.windows, strict=True)):
        model = homes.fresh()
        load_weights(model, shared.of(i))
        result = fine_tune(
            model,
            windows,
            homes.training(_TUNING_AT),
            head_steps=plan.tune_head_steps,
            all_steps=plan.tune_all_steps,
            seed=homes.seed,
            household=name,
        )
        kept += result.kept
        models.append(weights_of(model))
    extra = (plan.tune_head_steps + plan.tune_all_steps) * len(models)
    return Trained(
        tuple(models),
        shared.seconds + clock.read()[0],
        shared.cpu_seconds + clock.read()[1],
        shared.steps + extra,
        shared.bytes_sent,
        {"homes_that_kept_it": kept},
    )


def forecasts(
    panel: Panel,
    scalers: Sequence[Scaler],
    preset: str,
    trained: Trained,
    origins: Rows,
    horizon: str,
) -> Forecast:
    """Forecast every home from every origin: streams (H, n, steps), quantiles (H, n, Q, 48)."""
    made = []
    for i, history in enumerate(panel.histories):
        count = len(origins)
        forecaster = Forecaster(preset, trained.of(i), [scalers[i]] * count)
        made.append(forecaster.forecast([history] * count, origins.tolist(), (horizon,)))
    streams = {name: np.stack([one.streams[name] for one in made]) for name in made[0].streams}
    quantiles = [one.quantiles for one in made if one.quantiles is not None]
    return Forecast(streams, np.stack(quantiles) if quantiles else None, made[0].levels)
