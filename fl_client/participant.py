"""One household's side of a model round, for every strategy: train, protect, compress.

The steps are independent of each other, so any of them goes with any aggregation: personal layers
are put in place, the gradient gets its terms, the change is clipped and noised, then compressed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from flwr.app import RecordDict
from numpy.typing import NDArray

from common.compression import Compression
from common.config import Training
from common.forecast.forecaster import load_weights, weights_of
from common.forecast.windows import Windows
from common.messages import NUM_EXAMPLES
from common.model_messages import TRAIN_STEPS, ModelReply, ModelRequest
from common.rng import generator
from fl_client.personal_store import PersonalStore
from fl_client.strategy_hooks import ControlVariates, HeadThenBody, Proximal
from fl_client.training import Hook, TrainResult, at_round, local_update

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Participant:
    """A household that takes part: its name, its settings and what it keeps between rounds.

    ``model`` is scratch space of the preset; its weights are overwritten. ``seeded_noise`` draws
    privacy noise from the run's seed, which whoever knows the seed can subtract again: for
    experiments only. With ``decay_rounds`` the learning rate falls (``training.at_round``).
    """

    name: str
    model: torch.nn.Module
    training: Training
    steps: int
    seed: int
    store: PersonalStore
    seeded_noise: bool = False
    decay_rounds: int | None = None
    hooks: tuple[Hook, ...] = field(default=())

    def read(self, content: RecordDict) -> ModelRequest:
        """Read a message; raises MessageError where it builds on a model not held here."""
        request = ModelRequest.decode(content, lambda r: self.store.exactly("global", r))
        if request.keep:
            self.store.save("global", request.round, request.weights)
        return request

    def train(self, request: ModelRequest, windows: Windows) -> ModelReply:
        """One local update, to be sent before the next.

        Its weights may be views of the scratch model: a large one is not copied once more.
        Raises ValueError where the update holds NaN and is compressed.
        """
        start = self._with_personal(request)
        load_weights(self.model, start)
        hooks: list[Hook] = list(self.hooks)
        steps = self.steps if request.local_steps is None else request.local_steps
        if request.proximal_mu:
            hooks.append(Proximal(request.proximal_mu))
        control = self._control(request)
        if control is not None:
            hooks.append(control[1])
        if request.head_steps:
            hooks.append(HeadThenBody(request.personal_layers, request.head_steps))
            steps += request.head_steps
        result = self._update(windows, steps, request.round, hooks)
        # Ditto trains its own model in the same place.
        trained = weights_of(self.model, copy=bool(request.ditto_steps))
        if request.personal_layers:
            self._keep_layers(request, trained)
        if request.ditto_steps:
            self._train_own(request, windows)
        metrics: dict[str, float | int] = {NUM_EXAMPLES: result.windows}
        if result.steps:
            metrics["train_loss"] = result.loss
            metrics[TRAIN_STEPS] = result.steps
        change = None
        if control is not None:
            change = self._keep_control(request, *control)
        return self._reply(request, trained, metrics, change)

    def forecasting_weights(self, request: ModelRequest, windows: Windows) -> Weights:
        """The model this household forecasts with, once it has the global one."""
        if request.ditto_steps:
            own = self.store.load("ditto", request.round + 1)
            return request.weights if own is None else own
        weights = self._with_personal(request, request.round + 1)
        if request.fine_tune_steps and len(windows):
            load_weights(self.model, weights)
            self._update(windows, request.fine_tune_steps, request.round, [], "fine-tune ")
            weights = weights_of(self.model)
        return weights

    def _update(
        self, windows: Windows, steps: int, round_: int, hooks: list[Hook], purpose: str = ""
    ) -> TrainResult:
        training = self.training
        if self.decay_rounds is not None:
            training = at_round(training, windows.preset, round_, self.decay_rounds)
        return local_update(
            self.model,
            windows,
            training,
            steps=steps,
            seed=self.seed,
            household=f"{purpose}{self.name}",
            round_=round_,
            hooks=hooks,
        )

    # ---- personal layers and models -----------------------------------------------------------

    def _with_personal(self, request: ModelRequest, before: int | None = None) -> Weights:
        if not request.personal_layers:
            return request.weights
        own = self.store.load("layers", request.round if before is None else before) or {}
        return {name: own.get(name, value) for name, value in request.weights.items()}

    def _keep_layers(self, request: ModelRequest, trained: Weights) -> None:
        """Keep the personal layers; in their place the received ones go back."""
        own = {n: v for n, v in trained.items() if n.startswith(request.personal_layers)}
        self.store.save("layers", request.round, own)
        for name in own:
            trained[name] = request.weights[name]

    def _train_own(self, request: ModelRequest, windows: Windows) -> None:
        """Ditto (Li et al. 2021, arXiv:2012.04221): an own model, pulled to the global one."""
        own = self.store.load("ditto", request.round)
        load_weights(self.model, request.weights if own is None else own)
        pull = Proximal(request.ditto_lambda, request.weights)
        self._update(windows, request.ditto_steps, request.round, [pull], "ditto ")
        self.store.save("ditto", request.round, weights_of(self.model))

    # ---- control variates ---------------------------------------------------------------------

    def _control(self, request: ModelRequest) -> tuple[Weights, ControlVariates] | None:
        if request.control is None:
            return None
        own = self.store.load("control", request.round)
        if own is None:
            own = {name: np.zeros_like(value) for name, value in request.control.items()}
        return own, ControlVariates(request.control, own)

    def _keep_control(
        self, request: ModelRequest, own: Weights, variates: ControlVariates
    ) -> Weights:
        if variates.steps == 0:
            return {name: np.zeros_like(value) for name, value in own.items()}
        new = variates.mean_gradient()
        self.store.save("control", request.round, new)
        return {name: new[name] - own[name] for name in own}

    # ---- what leaves the household ------------------------------------------------------------

    def _reply(
        self,
        request: ModelRequest,
        trained: Weights,
        metrics: dict[str, float | int],
        control: Weights | None,
    ) -> ModelReply:
        private = request.privacy_clip is not None
        if request.change_clip is not None and not private:
            trained = _held(trained, request.weights, request.change_clip)
        if not private and not request.compression.active:
            return ModelReply(metrics, trained, control=control)
        delta = {name: trained[name] - request.weights[name] for name in trained}
        if request.privacy_clip is not None:
            delta = clipped(delta, request.privacy_clip)
            self._add_noise(delta, request)
            # Losses and the number of windows would tell of the data; every household counts 1.
            metrics = {NUM_EXAMPLES: 1}
        if not request.compression.active:
            noised = {name: request.weights[name] + delta[name] for name in delta}
            return ModelReply(metrics, noised, control=control)
        feeds_back = request.compression.feeds_back
        lost = self.store.load("residual", request.round) if feeds_back else None
        if lost is not None:
            delta = {name: delta[name] + lost[name] for name in delta}
        blob = request.compression.compress(delta)
        if feeds_back:
            read = Compression.expand(blob, {name: value.shape for name, value in delta.items()})
            self.store.save("residual", request.round, {n: delta[n] - read[n] for n in delta})
        return ModelReply(metrics, compressed=blob, control=control)

    def _add_noise(self, delta: Weights, request: ModelRequest) -> None:
        if self.seeded_noise:
            rng = generator(self.seed, self.name, request.round, "privacy noise")
        else:
            rng = np.random.default_rng()
        for name, value in delta.items():
            noise = rng.standard_normal(value.shape) * request.privacy_noise
            delta[name] = (value + noise).astype(np.float32)


def _length(delta: Mapping[str, NDArray[np.float32]]) -> float:
    return float(np.sqrt(sum(float(np.square(d, dtype=np.float64).sum()) for d in delta.values())))


def _held(trained: Weights, sent: Weights, norm: float) -> Weights:
    """The trained weights, or where they are further than ``norm`` from those sent, held back."""
    delta = {name: trained[name] - sent[name] for name in trained}
    if _length(delta) <= norm:
        return trained
    return {name: sent[name] + change for name, change in clipped(delta, norm).items()}


def clipped(delta: Mapping[str, NDArray[np.float32]], norm: float) -> Weights:
    """The update scaled down to Euclidean norm ``norm`` over all its arrays, if it is longer.

    An update with NaN or infinity becomes zero: it must not leave, and its absence would tell.
    """
    length = _length(delta)
    if not np.isfinite(length):
        return {name: np.zeros_like(value) for name, value in delta.items()}
    scale = np.float32(min(1.0, norm / length) if length > 0 else 1.0)
    return {name: value * scale for name, value in delta.items()}
