"""Forecasts of many households at once; what one gets does not depend on who else is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from common.arrays import Floats32
from common.errors import InputError
from common.forecast.device import autocast, choose_device
from common.forecast.history import History
from common.forecast.inputs import (
    AHEAD,
    ahead_block,
    past_block,
    target_units,
    wall_clock_rows,
)
from common.forecast.presets import find_preset
from common.forecast.scalers import Scaler
from common.forecast.slot_inputs import slot_inputs
from common.forecast.streams import (
    HORIZONS,
    KINDS,
    QUANTILE_LEVELS,
    QUANTILES,
    SLOTS,
    STREAMS,
)
from common.forecast.transformer import blank_model


@dataclass(frozen=True)
class Forecast:
    """Streams by name, (H, steps) in kWh per interval or currency per kWh; step 0 is row ``known``.

    ``quantiles`` (H, Q, 48) of the day's consumption at ``levels`` (Q,), non-decreasing in Q, or
    None when the preset gives none.
    """

    streams: Mapping[str, Floats32]
    quantiles: Floats32 | None
    levels: tuple[float, ...] = QUANTILE_LEVELS


def load_weights(model: torch.nn.Module, weights: Mapping[str, NDArray[np.floating]]) -> None:
    """Copy named arrays into a model. Raises InputError that names a wrong or missing array."""
    own = model.state_dict()
    _check(own, weights)
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.device.type == "cpu":  # weights may be read-only, which torch dislikes
                np.copyto(parameter.numpy(), weights[name])
            else:
                parameter.copy_(torch.from_numpy(np.array(weights[name], np.float32)))


def _check(own: Mapping[str, torch.Tensor], weights: Mapping[str, NDArray[np.floating]]) -> None:
    for name in sorted(set(own) | set(weights)):
        if name not in weights:
            raise InputError(f"model weights: {name!r} is missing")
        if name not in own:
            raise InputError(f"model weights: {name!r} is not part of this preset")
        if tuple(weights[name].shape) != tuple(own[name].shape):
            raise InputError(
                f"model weights: {name!r} has shape {tuple(weights[name].shape)}, "
                f"expected {tuple(own[name].shape)}"
            )


def weights_of(model: torch.nn.Module, copy: bool = True) -> dict[str, Floats32]:
    """Return a model's weights as named float32 arrays.

    Without ``copy``, those of a model on the CPU are views, and change with it.
    """
    return {
        name: value.detach().cpu().numpy().astype(np.float32, copy=copy)
        for name, value in model.state_dict().items()
    }


class Forecaster:
    """One model and the scalers of the households it forecasts for, in their order."""

    def __init__(
        self,
        preset: str,
        weights: Mapping[str, NDArray[np.floating]],
        scalers: Sequence[Scaler],
        device: str = "cpu",
    ) -> None:
        self.preset = find_preset(preset)
        self._scalers = list(scalers)
        self._device = choose_device(device)
        self._model = blank_model(preset).eval()
        self.load(weights)
        units = [target_units(scaler, self.preset) for scaler in self._scalers]
        self._offset = np.array([offset for offset, _ in units]).reshape(-1, len(KINDS))
        self._unit = np.array([unit for _, unit in units]).reshape(-1, len(KINDS))

    def load(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        """Take over new weights, without copying them: the caller must not change them after."""
        _check(self._model.state_dict(), weights)
        tensors = {}
        for name, array in weights.items():
            own = np.require(array, np.float32, ["C", "W"])  # copies what is read-only
            tensors[name] = torch.from_numpy(own)
        self._model.load_state_dict(tensors, assign=True)
        self._model.to(self._device)

    def forecast(
        self,
        histories: Sequence[History],
        known: int | Sequence[int],
        horizons: tuple[str, ...] = tuple(HORIZONS),
    ) -> Forecast:
        """Forecast from row ``known`` (one for all, or one each) over the horizons asked for.

        Only rows before ``known`` and the calendar are read. Households go through the model in
        batches of one fixed shape, so each result is the same, bit for bit, in any company.
        Raises InputError when a household has less than a day of history.
        """
        count = len(histories)
        if count != len(self._scalers):
            raise InputError(f"{count} histories for a forecaster of {len(self._scalers)}")
        at = [known] * count if isinstance(known, int | np.integer) else [int(k) for k in known]
        pieces: dict[str, list[Floats32]] = {}
        size = self.preset.inference_batch
        for start in range(0, count, size):
            stop = min(start + size, count)
            batch = self._inputs(histories[start:stop], at[start:stop], start, horizons)
            for name, output in self._run(batch, horizons).items():
                pieces.setdefault(name, []).append(output[: stop - start])
        return self._in_units({name: np.concatenate(parts) for name, parts in pieces.items()})

    def _inputs(
        self, histories: Sequence[History], at: Sequence[int], first: int, horizons: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        size, lookback = self.preset.inference_batch, self.preset.lookback
        blocks = []
        for i, (history, known) in enumerate(zip(histories, at, strict=True)):
            if not SLOTS <= known <= len(history):
                raise InputError(
                    f"a forecast needs {SLOTS} half hours of history and a row of it to start "
                    f"from: row {known} of {len(history)}"
                )
            if self.preset.family == "window":
                rows = np.arange(known - lookback, known)
            else:
                rows = wall_clock_rows(history.clock_shift, np.array([known]), lookback)[0]
            blocks.append(past_block(history, self._scalers[first + i], self.preset, rows))
        past = np.zeros((size, *blocks[0].shape), np.float32)
        past[: len(blocks)] = blocks
        if self.preset.family == "window":
            return {"window": torch.from_numpy(past).to(self._device)}
        steps = {name: np.arange(n) for name, n in HORIZONS.items() if name in horizons}
        every = np.concatenate(list(steps.values()))
        ahead = np.zeros((AHEAD, len(every), size), np.float32)
        for i, (history, known) in enumerate(zip(histories, at, strict=True)):
            ahead[..., i] = ahead_block(
                history.calendar.T,
                history.daylight.T,
                history.clock_shift,
                np.array([known]),
                every,
            )[..., 0]
        days = past.transpose(2, 0, 1).reshape(past.shape[2], size, -1, SLOTS)[:, :, ::-1]
        inputs = slot_inputs(days, ahead, steps)
        return {name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()}

    def _run(
        self, inputs: dict[str, torch.Tensor], horizons: tuple[str, ...]
    ) -> dict[str, Floats32]:
        with torch.inference_mode(), autocast(self.preset, self._device):
            outputs = self._model(inputs)
        return {
            name: value.cpu().numpy()
            for name, value in outputs.items()
            if name == QUANTILES or STREAMS[name][1] in horizons
        }

    def _in_units(self, outputs: dict[str, Floats32]) -> Forecast:
        quantiles = outputs.pop(QUANTILES, None)
        streams = {}
        for name, output in outputs.items():
            kind = KINDS.index(STREAMS[name][0])
            value = self._offset[:, kind, None] + self._unit[:, kind, None] * output
            # Consumption is never negative; a price may be.
            streams[name] = (np.maximum(value, 0.0) if kind == 0 else value).astype(np.float32)
        if quantiles is not None:
            scaled = self._offset[:, 0, None, None] + self._unit[:, 0, None, None] * quantiles
            quantiles = np.sort(np.maximum(scaled, 0.0), axis=1).astype(np.float32)
        return Forecast(streams, quantiles)
