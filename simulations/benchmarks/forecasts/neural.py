"""The neural rows: each home alone, everyone's data pooled, and the federation, at equal work.

Equal work: every row takes as many gradient steps of the same batch size in all, ``rounds x homes
sampled x local steps``; each home alone takes its share, the pooled model takes them all one after
another.
The federation is the product's: a strategy's rounds (``fl_server.rounds``), participants
(``fl_client.participant``) behind Flower messages, and the learning rate that falls with the rounds
as in a run, for the other rows as well.
"""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from common.config import Settings, Training
from common.forecast.forecaster import Forecast, Forecaster, load_weights, weights_of
from common.forecast.presets import find_preset
from common.forecast.scalers import Scaler, fit_scaler
from common.forecast.transformer import build_model
from common.forecast.windows import Windows, pool, training_windows
from common.messages import NUM_EXAMPLES, decode_arrays, encode_arrays, encode_metrics
from fl_client.participant import Participant
from fl_client.personal_store import PersonalStore
from fl_client.training import at_round, local_update
from fl_server.initial import initial_weights
from fl_server.roster import Roster
from fl_server.rounds import Rounds
from fl_server.strategy import make_strategy
from simulations.benchmarks.forecasts.panel import Panel, Rows, Span
from simulations.engine.loop import LoopGrid, server_context

Weights = dict[str, Any]


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
    fine_tune_steps: int = 4
    """Of each home, on what it has received, before it forecasts with it."""

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


class Homes:
    """Training windows and scalers of the homes; no row of the scored span is read."""

    def __init__(self, panel: Panel, span: Span, plan: Plan, seed: int) -> None:
        self.names, self.plan, self.seed = panel.names, plan, seed
        self.scalers = [fit_scaler(h, 0, span.start) for h in panel.histories]
        self.windows = [
            training_windows(h, scaler, plan.preset, 0, span.start)
            for h, scaler in zip(panel.histories, self.scalers, strict=True)
        ]
        self.training = Training(
            learning_rate=plan.learning_rate, batch_size=plan.batch_size, device="cpu"
        )
        self.decay_rounds = Settings().fl.rate_decay_rounds

    def fresh(self) -> torch.nn.Module:
        """The model everybody starts from, that of a run of this seed."""
        model = build_model(self.plan.preset)
        load_weights(model, initial_weights(self.plan.preset, None, self.seed))
        return model

    def update(
        self, model: torch.nn.Module, windows: Windows, round_: int, name: str, steps: int
    ) -> None:
        """One short local training, as in federated round ``round_`` from 1 on."""
        training = self.training
        if self.decay_rounds is not None:
            preset = find_preset(self.plan.preset)
            training = at_round(training, preset, round_, self.decay_rounds)
        local_update(
            model,
            windows,
            training,
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
        for round_, steps in enumerate(_shares(plan, len(homes.names), 1), 1):
            homes.update(model, windows, round_, name, steps)
        models.append(weights_of(model))
    total = sum(_shares(plan, len(models), 1)) * len(models)
    return Trained(tuple(models), *clock.read(), total, 0)


def centralised(homes: Homes) -> Trained:
    """One model on everybody's windows, which all had to be collected for it."""
    clock, plan = _Clock(), homes.plan
    pooled, model = pool(homes.windows), homes.fresh()
    shares = _shares(plan, len(homes.names), len(homes.names))
    for round_, steps in enumerate(shares, 1):
        homes.update(model, pooled, round_, "", steps)
    return Trained((weights_of(model),), *clock.read(), sum(shares), 0)


def _shares(plan: Plan, homes: int, among: int) -> list[int]:
    """Steps of each round for a row whose ``among`` of ``homes`` homes share one model."""
    each = plan.steps(homes) * among / homes
    marks = [round(each * (round_ + 1) / plan.rounds) for round_ in range(plan.rounds)]
    return [mark - before for mark, before in zip(marks, [0, *marks[:-1]], strict=True)]


class Federated(NamedTuple):
    """The global model of the last round, and what each home makes of it to forecast with."""

    shared: Trained
    own: Trained


def federated(
    homes: Homes, strategy: str = "fedavg", options: Mapping[str, float | int | str] | None = None
) -> Federated:
    """A federation of the homes under a strategy of the product, over a share of them each round.

    What the homes do in the last round to what they have received, as fine-tuning, is in the cost
    of ``own`` alone.
    """
    clock, plan, names = _Clock(), homes.plan, homes.names
    with (
        tempfile.TemporaryDirectory(prefix="fedwatt-") as folder,
        torch.random.fork_rng(devices=[]),
    ):
        members = _Members(homes, Path(folder))
        server_context(1, {})
        grid = LoopGrid(members.app(), len(names), {}, 1)
        rounds = Rounds(
            make_strategy(
                strategy,
                options or {},
                fraction_train=plan.fraction,
                fraction_evaluate=1.0,
                seed=homes.seed,
            ),
            Roster(grid, dict(zip(grid.get_node_ids(), names, strict=True))),
            encode_arrays(initial_weights(plan.preset, None, homes.seed)),
            seed=homes.seed,
            max_update_bytes=2**31,
            deadline_s=math.inf,
            local_steps=plan.local_steps,
        )
        _, sent, _ = rounds.broadcast(0, ConfigRecord())
        for round_ in range(1, plan.rounds + 1):
            result = rounds.run(round_, ConfigRecord(), ConfigRecord())
            sent += result.screening.bytes_up + result.bytes_down
            if result.failed is not None or result.screening.accepted < result.sampled:
                raise RuntimeError(f"round {round_}: {result.failed or result.screening.dropped}")
        model = decode_arrays(rounds.arrays)
    wall_s, cpu_s = clock.read()
    own_wall_s, own_cpu_s = members.own_s
    shared = Trained((model,), wall_s - own_wall_s, cpu_s - own_cpu_s, members.steps, sent)
    own = Trained(
        tuple(members.forecasting[name] for name in names),
        wall_s,
        cpu_s,
        members.steps + members.own_steps,
        sent,
    )
    return Federated(shared, own)


class _Members:
    """The homes behind Flower messages. ``forecasting``: what each forecasts with after the last
    round. ``steps``: of training; ``own_steps``, ``own_s``: of fine-tuning after the last round,
    and (wall, processor) seconds of it."""

    def __init__(self, homes: Homes, folder: Path) -> None:
        self._homes, plan = homes, homes.plan
        model = homes.fresh()
        self._participants = [
            Participant(
                name=name,
                model=model,
                training=homes.training,
                steps=plan.local_steps,
                seed=homes.seed,
                store=PersonalStore(folder / name, keep=2),
                decay_rounds=homes.decay_rounds,
            )
            for name in homes.names
        ]
        self.forecasting: dict[str, Weights] = {}
        self.steps = self.own_steps = 0
        self.own_s = (0.0, 0.0)

    def app(self) -> ClientApp:
        """The ClientApp of all homes; a node's partition is its place among them."""
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            h = int(context.node_config["partition-id"])
            participant = self._participants[h]
            reply = participant.train(participant.read(message.content), self._homes.windows[h])
            self.steps += participant.steps
            return Message(reply.encode(), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            self._receive(int(context.node_config["partition-id"]), message)
            return Message(encode_metrics({NUM_EXAMPLES: 0}), reply_to=message)

        return app

    def _receive(self, h: int, message: Message) -> None:
        participant = self._participants[h]
        request = participant.read(message.content)
        if request.round < self._homes.plan.rounds:
            return  # what it would forecast with now is not scored
        clock = _Clock()
        made = participant.forecasting_weights(request, self._homes.windows[h])
        self.forecasting[participant.name] = made
        wall_s, cpu_s = clock.read()
        self.own_s = self.own_s[0] + wall_s, self.own_s[1] + cpu_s
        self.own_steps += request.fine_tune_steps


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
