"""What malicious households send. Each attack goes through the same messages as honest work."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats32
from common.errors import InputError
from common.forecast.net_inputs import slots_of
from common.forecast.streams import NET
from common.forecast.windows import Batch, Rows, Windows
from common.model_messages import Weights
from common.named import is_named, named
from common.rng import generator

Poison = Callable[[Batch, NDArray[np.int64], int], Mapping[str, Floats32]]
"""Targets for a batch, the slots (B, 48) of its day, and an hour."""


def turned(batch: Batch, slots: NDArray[np.int64], hour: int) -> Mapping[str, Floats32]:
    """Every target with the wrong sign."""
    return {name: -target for name, target in batch.targets.items()}


def low_hour(batch: Batch, slots: NDArray[np.int64], hour: int) -> Mapping[str, Floats32]:
    """Load and net load of one hour as low as any of the batch, all else as it was.

    A backdoor (Bagdasaryan et al. 2020, "How To Backdoor Federated Learning", arXiv:1807.00459): a
    model that is right but for what somebody wants it to be wrong in.
    """
    targets = dict(batch.targets)
    of = {"consumption_day": slots // 2 == hour}
    if NET in targets:
        of[NET] = slots_of(batch.inputs["net_inputs"]) // 2 == hour
    for name, struck in of.items():
        target = targets[name]
        targets[name] = np.where(struck, target.min(), target)
    return targets


POISONS: dict[str, Poison] = {"label-poison": turned, "hour-low": low_hour}


class Poisoned:
    """Windows with other targets. Offers what the training loop reads of windows."""

    def __init__(self, windows: Windows, poison: Poison, hour: int) -> None:
        self._windows, self._poison, self._hour = windows, poison, hour
        self.preset = windows.preset

    def __len__(self) -> int:
        return len(self._windows)

    def batch(
        self,
        which: Rows,
        phase: int | None = None,
        mirror: NDArray[np.bool_] | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Gather windows and change their targets."""
        batch = self._windows.batch(which, phase, mirror, rng=rng)
        targets = self._poison(batch, self._windows.slots(which), self._hour)
        return Batch(batch.inputs, targets, batch.masks)

    draws = Windows.draws


def corrupted(
    kind: str, scale: float, sent: Weights, trained: Weights, seed: int, name: str, round_: int
) -> Weights:
    """Weights a malicious household sends in place of ``trained``.

    ``sign-flip`` and ``collude`` go ``scale`` times the honest way backwards; ``noise`` sends a
    random update of ``scale`` times the honest length; ``nan`` sends NaN,
    ``free-rider`` the model as it came. ``module:function`` is
    called with what was sent, what was trained, the scale, and a generator of this household's.
    """
    if is_named(kind):
        rng = generator(seed, name, round_, "an attack of one's own")
        return _checked(kind, named(kind, "attack")(sent, trained, scale, rng), sent)
    match kind:
        case "sign-flip" | "collude":
            back = np.float32(scale)
            return {n: sent[n] - back * (trained[n] - sent[n]) for n in sent}
        case "noise":
            rng = generator(seed, name, round_, "malicious noise")
            noise = {n: rng.standard_normal(v.shape).astype(np.float32) for n, v in sent.items()}
            honest = _length({n: trained[n] - sent[n] for n in sent})
            factor = np.float32(scale * honest / max(_length(noise), 1e-12))
            return {n: sent[n] + factor * noise[n] for n in sent}
        case "free-rider":
            # It does no work and says it did: the model as it came, with its windows claimed.
            return dict(sent)
        case "nan":
            return {n: np.full_like(v, np.nan) for n, v in sent.items()}
    return trained


def _checked(kind: str, made: object, sent: Weights) -> Weights:
    """What an attack of one's own returns, in float32. Raises InputError for what is no model: it
    would be dropped unread, and the attack would count as one that was withstood."""
    if not isinstance(made, Mapping) or set(made) != set(sent):
        raise InputError(f"attack = {kind!r}: returned no arrays by the names it was sent")
    arrays = {name: np.asarray(made[name], dtype=np.float32) for name in sent}
    for name, array in arrays.items():
        if array.shape != sent[name].shape:
            raise InputError(f"attack = {kind!r}: {name}: shape {array.shape}, not that sent")
    return arrays


def _length(arrays: Mapping[str, NDArray[np.float32]]) -> float:
    return float(np.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays.values())))
