"""The households of a cell behind Flower messages, and what they measure on held-out days."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from common.compression import NotFiniteError
from common.config import Training
from common.forecast import metrics
from common.forecast.forecaster import load_weights
from common.forecast.transformer import build_model
from common.forecast.windows import Batch
from common.messages import NUM_EXAMPLES, MessageError, encode_metrics
from common.model_messages import ModelReply, ModelRequest, Weights
from fl_client.participant import Participant
from fl_client.personal_store import PersonalStore
from simulations.benchmarks.strategies.attacks import POISONS, Poisoned, corrupted
from simulations.benchmarks.strategies.collusion import COLLUDING, crafted
from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.homes import Home, Phase

Errors = dict[str, float]
ERRORS = ("nrmse", "rmse", "mae", "mase", "bias", "hour_bias")


class DroppedOutError(Exception):
    """A household does not answer, as the dial says."""


def day_errors(forecast: NDArray[np.float64], home: Home, round_: int, hour: int) -> Errors:
    """Errors of day-ahead consumption on the held-out days; forecast (D, 48) in kWh.

    ``hour_bias``: of the half hours from ``hour`` o'clock on, mean error in units of the home's
    mean load.
    """
    phase = home.phase(round_)
    at = slice(2 * hour, 2 * hour + 2)
    amiss = float((forecast[:, at] - phase.actual[:, at]).mean())
    return {
        "nrmse": metrics.nrmse(forecast, phase.actual),
        "rmse": metrics.rmse(forecast, phase.actual),
        "mae": metrics.mae(forecast, phase.actual),
        "mase": metrics.mase(forecast, phase.actual, phase.scale),
        "bias": metrics.bias(forecast, phase.actual),
        "hour_bias": amiss / max(float(phase.actual.mean()), 1e-9),
    }


def measure(model: torch.nn.Module, home: Home, round_: int, hour: int) -> Errors:
    """Errors of the weights the model holds, as ``day_errors``; ``check_nrmse``: on the days that
    say which round counts, nan of a home without any, infinite where the model has diverged."""
    phase = home.phase(round_)
    found = day_errors(_forecast(model, home, phase.test), home, round_, hour)
    check = float("nan")
    if phase.check is not None:
        check = metrics.nrmse(_forecast(model, home, phase.check), phase.check_actual)
        check = check if np.isfinite(check) else float("inf")
    return {**found, "check_nrmse": check}


def _forecast(model: torch.nn.Module, home: Home, days: Batch) -> NDArray[np.float64]:
    """Forecast each of ``days``, (D, 48) kWh."""
    inputs = {name: torch.from_numpy(value) for name, value in days.inputs.items()}
    model.eval()
    with torch.inference_mode():
        streams = model(inputs)
    values = streams["consumption_day"].numpy().astype(np.float64)
    forecast: NDArray[np.float64] = np.maximum(home.offset + home.kwh_per_unit * values, 0.0)
    return forecast


def _change(reply: ModelReply, request: ModelRequest) -> NDArray[np.float64]:
    """(P,) by which a training has moved the model."""
    assert reply.weights is not None
    moved = [(reply.weights[n] - sent).reshape(-1) for n, sent in request.weights.items()]
    return np.concatenate(moved).astype(np.float64)


class Households:
    """Answers train and evaluate messages for all homes; ``errors`` holds what was measured.

    The participants are those of a deployment; a dial only takes away steps or answers, or
    corrupts what is sent.
    """

    def __init__(
        self,
        homes: Sequence[Home],
        dial: Dial,
        preset: str,
        training: Training,
        steps: int,
        seed: int,
        directory: Path,
        measured: frozenset[int],
    ) -> None:
        self._homes, self._dial, self._seed = homes, dial, seed
        self._measured = measured
        self._model = build_model(preset)
        names = [home.name for home in homes]
        self.malicious = dial.malicious(seed, names)
        self._leader = min(self.malicious, default="")
        self._place = {name: h for h, name in enumerate(names)}
        self._participants = [
            Participant(
                name=name,
                model=self._model,
                training=training,
                steps=steps,
                seed=seed,
                store=PersonalStore(directory / name, keep=2),
                seeded_noise=True,
            )
            for name in names
        ]
        self.errors: dict[tuple[int, str], Errors] = {}
        self._broken: Exception | None = None
        self._together: tuple[int, Weights] = (-1, {})
        self._honest: dict[str, ModelReply] = {}
        self._change: NDArray[np.float32] | None = None
        self.forecasting: dict[str, Weights] = {}
        self.round_of: dict[int, int] = {}
        """The community's round by the number that messages carry, where the two differ."""

    def _phase(self, home: Home, number: int) -> Phase:
        return home.phase(self.round_of.get(number, number))

    def app(self) -> ClientApp:
        """The ClientApp of all homes; a node's partition is its place in the list."""
        app = ClientApp()

        @app.train()
        def train(message: Message, context: Context) -> Message:
            h = int(context.node_config["partition-id"])
            with self._watched():
                reply = self.train(h, self._participants[h].read(message.content))
                return Message(reply.encode(), reply_to=message)

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            h = int(context.node_config["partition-id"])
            with self._watched():
                found = self.evaluate(h, self._participants[h].read(message.content))
                return Message(encode_metrics(found), reply_to=message)

        return app

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Remember what is raised: an engine makes an error reply of it, as of a home that has gone
        to pieces, and an attack that cannot even run would count as one that was withstood."""
        try:
            yield
        except (DroppedOutError, NotFiniteError, MessageError):
            # So would a deployment's household answer: by the dial, because its training has
            # diverged, or because it missed the model that this message builds on.
            raise
        except Exception as error:  # code of the user's own may raise what it likes
            self._broken = self._broken or error
            raise

    def check(self) -> None:
        """Raise what code has raised in a household since the first round."""
        if self._broken is not None:
            raise self._broken

    def train(self, h: int, request: ModelRequest) -> ModelReply:
        """Train, or drop out, or do harm."""
        home, dial, round_ = self._homes[h], self._dial, request.round
        if dial.drops(self._seed, home.name, round_):
            raise DroppedOutError("dropped out")
        if home.name in self.malicious:
            return self._attack(h, request)
        if not dial.stragglers_finish and dial.straggles(self._seed, home.name, round_):
            participant = self._participants[h]
            steps = participant.steps if request.local_steps is None else request.local_steps
            request = replace(request, local_steps=max(1, round(steps * dial.straggler_work)))
        return self._participants[h].train(request, self._phase(home, round_).train)

    def _attack(self, h: int, request: ModelRequest) -> ModelReply:
        kind, home, participant = self._dial.attack, self._homes[h], self._participants[h]
        train = self._phase(home, request.round).train
        if kind in POISONS:
            poisoned = Poisoned(train, POISONS[kind], self._dial.attack_hour)
            return participant.train(request, poisoned)  # type: ignore[arg-type]
        plain = replace(request, compression=type(request.compression)(), privacy_clip=None)
        if kind in COLLUDING:
            reply = self._honestly(home.name, plain)
            return replace(reply, weights=self._crafted(kind, plain))
        if kind == "collude":
            # All send the very same update, that of the first of them.
            home = self._homes[self._place[self._leader]]
            reply = self._honestly(home.name, plain)
        else:
            reply = participant.train(plain, train)
        assert reply.weights is not None
        bad = corrupted(
            kind,
            self._dial.attack_scale,
            request.weights,
            reply.weights,
            self._seed,
            home.name,
            request.round,
        )
        return replace(reply, weights=bad)

    def _honestly(self, name: str, request: ModelRequest) -> ModelReply:
        """What an attacker would have sent, trained by itself, with its own files, once a round.

        Whoever of them is asked first asks the others. They are sent the same model, unless a
        strategy has several; then this begins anew.
        """
        round_, sent = self._together
        if round_ != request.round or any(
            not np.array_equal(sent[n], value) for n, value in request.weights.items()
        ):
            self._together = request.round, request.weights
            self._honest, self._change = {}, None
        if name not in self._honest:
            h = self._place[name]
            reply = self._participants[h].train(
                request, self._phase(self._homes[h], request.round).train
            )
            assert reply.weights is not None
            # They may be views of the model that the next of them trains.
            kept = {n: np.array(value) for n, value in reply.weights.items()}
            self._honest[name] = replace(reply, weights=kept)
        return self._honest[name]

    def _crafted(self, kind: str, request: ModelRequest) -> Weights:
        """What all colluders send in a round, from what each of them would have sent."""
        replies = [self._honestly(name, request) for name in sorted(self.malicious)]
        if self._change is None:
            honest = np.stack([_change(reply, request) for reply in replies])
            scale = self._dial.attack_scale
            self._change = crafted(kind, honest, scale, len(self._homes)).astype(np.float32)
        made, at = {}, 0
        for name, sent in request.weights.items():
            made[name] = sent + self._change[at : at + sent.size].reshape(sent.shape)
            at += sent.size
        return made

    def evaluate(self, h: int, request: ModelRequest) -> Mapping[str, float | int]:
        """Measure the model this household forecasts with, in the rounds that are asked about."""
        home, round_ = self._homes[h], self.round_of.get(request.round, request.round)
        if round_ not in self._measured:
            return {NUM_EXAMPLES: 0}
        windows = home.phase(round_).train
        weights = self._participants[h].forecasting_weights(request, windows)
        load_weights(self._model, weights)
        found = measure(self._model, home, round_, self._dial.attack_hour)
        self.errors[round_, home.name] = found
        self.forecasting[home.name] = weights
        # It has the model; what it measured is kept here and not sent.
        return {NUM_EXAMPLES: 0}
