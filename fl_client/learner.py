"""What a group of households does with the shared model: keep, forecast, train, evaluate.

The only client module besides training that needs torch; market messages of a household whose
trader asks for no forecast never import it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from flwr.app import RecordDict
from numpy.typing import NDArray

from common.arrays import Floats, Ints
from common.cadence import HALF_HOUR
from common.config import Settings
from common.errors import InputError
from common.forecast.forecaster import Forecast, Forecaster, load_weights
from common.forecast.net_corrector import Corrections, NetCorrector, has_net
from common.forecast.net_inputs import SCENARIOS, net_rows
from common.forecast.scalers import Scaler, fit_scaler
from common.forecast.streams import KINDS
from common.forecast.transformer import blank_model
from common.forecast.windows import Windows, training_windows
from common.messages import CONFIG, NUM_EXAMPLES
from common.model_messages import HELD_ROUND, ModelReply, ModelRequest
from fl_client.deciding import DayAhead
from fl_client.household import Group
from fl_client.models import ModelStore, Weights
from fl_client.participant import Participant
from fl_client.personal_store import PersonalStore
from fl_client.training import evaluate

_DAY = HALF_HOUR.per_day
_KEPT = 8


class Learner:
    """The forecasting side of a group. ``models``: folder of the weights received."""

    def __init__(self, group: Group, settings: Settings, models: Path) -> None:
        self._group = group
        self._settings = settings
        self._preset = settings.model.preset
        # A household that a round's sample leaves out goes on with the model it has.
        self._store = ModelStore(models, None if settings.fl.fraction_evaluate < 1 else _KEPT)
        self._scalers: dict[int, Scaler] = {}
        self._digests = [state.model() for state in group.log.states]
        self._forecasters: dict[tuple[str, tuple[int, ...]], Forecaster] = {}
        self._correctors: dict[str, NetCorrector | None] = {}
        self._corrections: dict[int, Corrections] = {}
        self._newest_net: tuple[tuple[object, ...], Floats | None] | None = None
        self._model: torch.nn.Module | None = None
        if settings.training.threads:
            torch.set_num_threads(settings.training.threads)

    # ---- forecasting --------------------------------------------------------------------------

    def receive(
        self, households: Sequence[int], content: RecordDict
    ) -> list[dict[str, float | int]]:
        """Keep the model of an evaluate message for these households, and measure it.

        It is measured on the newest day, which no training window has touched yet. Under privacy
        nothing is told of it.
        """
        if not self._group.log.saved:
            # A note of the model must not outrun the intervals before it in the files.
            self._group.log.flush()
        told = self._settings.fl.privacy.clip is None
        request: ModelRequest | None = None
        shared = ""
        loaded: Weights | None = None
        metrics: list[dict[str, float | int]] = []
        for h in households:
            participant = self._participant(h)
            if request is None or request.keep or HELD_ROUND in content.config_records[CONFIG]:
                # A message that builds on what is held may give each household another model.
                request, shared = participant.read(content), ""
            newest = self._newest(h)
            # Only fine-tuning trains here.
            windows = self.training(h) if request.fine_tune_steps else newest
            weights = participant.forecasting_weights(request, windows)
            # The global model is kept once for all households here, a household's own at home.
            if weights is request.weights:
                name = shared = shared or self._store.save(weights)
            else:
                name = self._own_store(h).save(weights)
            self._digests[h] = name
            self._group.log.states[h].put_model(request.round, self._group.log.decided, name)
            if self._group.log.durable:
                self._keep_month(h)
            if told and weights is not loaded:
                load_weights(self._scratch(), weights)
                # Fine-tuning the next household overwrites it.
                loaded = weights if weights is request.weights else None
            metrics.append(self._measure(newest) if told else {NUM_EXAMPLES: 1})
        return metrics

    def refresh(self) -> None:
        """Look up which models the households hold: another process may have received one."""
        self._digests = [state.model() for state in self._group.log.states]

    def day_ahead(self, households: Ints, unknown: int, lag: int) -> DayAhead | None:
        """Forecast the 48 half hours that begin ``lag`` half hours after the newest known one.

        Households that hold no model are left out; None where that is everybody.
        """
        digests = {self._digests[h] for h in households}
        parts: dict[int, tuple[NDArray[np.float64], ...]] = {}
        levels: tuple[float, ...] = ()
        for name in sorted(d for d in digests if d is not None):
            members = [int(h) for h in households if self._digests[h] == name]
            forecaster = self._forecaster(name, members)
            if forecaster is None:
                continue
            histories = [self._group.histories[h] for h in members]
            # An hour that has not ended yet is skipped, and the day filled up from the week.
            horizons = ("day", "week") if lag else ("day",)
            forecast = forecaster.forecast(
                histories, [len(history) - unknown for history in histories], horizons
            )
            levels = forecast.levels
            for i, h in enumerate(members):
                streams = {n: v[i].astype(np.float64) for n, v in forecast.streams.items()}
                quantiles = None if forecast.quantiles is None else forecast.quantiles[i]
                parts[h] = (
                    _shift(streams, "consumption", lag),
                    _shift(streams, "price", lag),
                    np.zeros(0)
                    if quantiles is None
                    else np.pad(quantiles[:, lag:], ((0, 0), (0, lag)), mode="edge"),
                )
        if not parts:
            return None
        able = np.array([h for h in households if int(h) in parts])
        ordered = [parts[int(h)] for h in able]
        quantiles_of = [part[2] for part in ordered]
        return DayAhead(
            able,
            np.stack([part[0] for part in ordered]),
            np.stack([part[1] for part in ordered]),
            np.stack(quantiles_of).astype(np.float64) if quantiles_of[0].size else None,
            levels,
        )

    def outlook(self, h: int) -> Forecast | None:
        """All streams of household ``h`` from its first row that is not known, its prices being
        those that it was told; None without a model.

        Raises InputError where its history is too short.
        """
        name = self._digests[h]
        weights = None if name is None else self._weights(name, h)
        if weights is None:
            return None
        group = self._group
        history, device = group.charged_history(h), self._settings.training.device
        known = len(history) - group.unknown(h)
        before = len(history) - group.tokens.count
        if known < _DAY or before < 1:
            raise InputError(
                f"household {group.names[h]}: {max(known, 0) / 2:g} hours of readings, "
                f"{max(before, 0) / 2:g} of them from before the run: a forecast needs a day, and "
                "some from before the run"
            )
        scaler = fit_scaler(history, 0, before)
        return Forecaster(self._preset, weights, [scaler], device).forecast([history], known)

    def _keep_month(self, h: int) -> None:
        """Write down what the model says of the month, for who looks without loading a model."""
        group = self._group
        try:
            made = self.outlook(h)
        except InputError:
            return  # of too short a history nothing is said
        if made is not None:
            begins = group.tokens.first(group.tokens.count - group.unknown(h))
            month = (made.streams[f"{kind}_month"][0].astype(np.float64) for kind in KINDS)
            group.log.states[h].put_month_ahead(begins, *month)

    def net_ahead(self, households: Ints, unknown: int, lag: int) -> Floats | None:
        """Quantiles (H, 14, 48) of net load [kWh] as the model corrects the homes' own days.

        nan for a household without such a model, and for one whose own days were nearer to what
        came in the week before the present day of the run; None where that is everybody.
        """
        t = self._group.tokens.count + lag - unknown
        # Several intervals may begin in one half hour, and ask the same.
        asked = (households.tobytes(), unknown, lag, tuple(self._digests[h] for h in households))
        if self._newest_net is not None and self._newest_net[0] == asked:
            return self._newest_net[1]
        found = np.full((len(households), SCENARIOS, _DAY), np.nan)
        for i, h in enumerate(int(h) for h in households):
            name = self._digests[h]
            corrector = None if name is None else self._corrector(name, h)
            if name is None or corrector is None:
                continue
            found[i] = self._corrections_of(h).quantiles(name, corrector, t, lag)
        answer = found if np.isfinite(found).any() else None
        self._newest_net = asked, answer
        return answer

    def _corrector(self, name: str, h: int) -> NetCorrector | None:
        """The net head of a model, kept for the newest models alone."""
        if name not in self._correctors:
            weights = self._weights(name, h)
            while len(self._correctors) >= max(2, len(self._digests)):
                self._correctors.pop(next(iter(self._correctors)))
            self._correctors[name] = (
                NetCorrector(weights) if weights is not None and has_net(weights) else None
            )
        return self._correctors[name]

    def _corrections_of(self, h: int) -> Corrections:
        if h not in self._corrections:
            self._corrections[h] = corrections_of(self._group, h)
        return self._corrections[h]

    def _forecaster(self, name: str, members: list[int]) -> Forecaster | None:
        key = (name, tuple(members))
        if key not in self._forecasters:
            weights = self._weights(name, members[0])
            if weights is None:
                return None
            stale = [k for k in self._forecasters if k[1] == key[1]]
            if stale:
                forecaster = self._forecasters.pop(stale[0])
                forecaster.load(weights)
            else:
                scalers = [self._scaler(h) for h in members]
                device = self._settings.training.device
                forecaster = Forecaster(self._preset, weights, scalers, device)
            self._forecasters[key] = forecaster
        return self._forecasters[key]

    def _weights(self, name: str, h: int) -> Weights | None:
        """Weights kept for all households here, or by ``h`` alone; None where they are not kept."""
        shared = self._store.load(name)
        return self._own_store(h).load(name) if shared is None else shared

    def _scaler(self, h: int) -> Scaler:
        """Fitted on the rows before the run: the training span that never moves."""
        if h not in self._scalers:
            history = self._group.histories[h]
            before = len(history) - self._group.tokens.count
            self._scalers[h] = fit_scaler(history, 0, before)
        return self._scalers[h]

    # ---- learning -----------------------------------------------------------------------------

    def train(self, h: int, content: RecordDict) -> ModelReply:
        """One local update of household ``h``, as a train message asks for it."""
        participant = self._participant(h)
        return participant.train(participant.read(content), self.training(h))

    def _participant(self, h: int) -> Participant:
        fl, run = self._settings.fl, self._settings.run
        every = self._settings.round_every
        # What a resumed run may go back to: the rounds since the last checkpoint, and one more.
        keep = -(-self._settings.checkpoint_every // every) + 2
        return Participant(
            name=self._group.names[h],
            model=self._scratch(),
            training=self._group.homes[h].training,
            steps=fl.local_steps,
            seed=run.seed,
            store=PersonalStore(self._home(h) / "strategy", keep),
            decay_rounds=fl.rate_decay_rounds,
            seeded_noise=fl.privacy.seeded_noise,
        )

    def _home(self, h: int) -> Path:
        return self._group.log.states[h].path.parent

    def _own_store(self, h: int) -> ModelStore:
        return ModelStore(self._home(h) / "models")

    def _measure(self, newest: Windows) -> dict[str, float | int]:
        if not len(newest):
            return {NUM_EXAMPLES: 0}
        measured = evaluate(self._scratch(), newest)
        metrics: dict[str, float | int] = {NUM_EXAMPLES: len(newest), "val_loss": measured["loss"]}
        for stream in ("consumption_day", "price_day"):
            if stream in measured:
                metrics[f"val_{stream}"] = measured[stream]
        return metrics

    def training(self, h: int) -> Windows:
        """Windows to train on: none of their targets is in the newest day."""
        _, cut = self._known(h)
        return training_windows(self._group.histories[h], self._scaler(h), self._preset, 0, cut)

    def _newest(self, h: int) -> Windows:
        """Windows whose targets end with the newest day."""
        known, cut = self._known(h)
        history, scaler = self._group.histories[h], self._scaler(h)
        return training_windows(history, scaler, self._preset, cut, known).every(7)

    def _known(self, h: int) -> tuple[int, int]:
        """(Known rows of the history, where its two newest days begin)."""
        known = len(self._group.histories[h]) - self._group.unknown(h)
        return known, max(known - 2 * _DAY, 0)

    def _scratch(self) -> torch.nn.Module:
        if self._model is None:
            self._model = blank_model(self._preset)
        return self._model


def corrections_of(group: Group, h: int) -> Corrections:
    """Household ``h``'s in its run. Its rows are views: readings to come are seen when known."""
    history = group.histories[h]
    rows = net_rows(history, len(history), group.measured(h))
    return Corrections(rows, len(rows) - group.tokens.count)


def _shift(streams: Mapping[str, NDArray[np.float64]], kind: str, lag: int) -> NDArray[np.float64]:
    day = streams[f"{kind}_day"]
    return np.concatenate([day[lag:], streams[f"{kind}_week"][_DAY : _DAY + lag]]) if lag else day
