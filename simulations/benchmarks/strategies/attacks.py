"""What malicious households send. Each attack goes through the same messages as honest work."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.forecast.windows import Batch, Rows, Windows
from common.model_messages import Weights
from common.named import is_named, named
from common.rng import generator


class Poisoned:
    """Windows whose targets have the wrong sign: label poisoning.

    Offers what the training loop reads of windows.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
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
        """Gather windows and turn their targets round."""
        batch = self._windows.batch(which, phase, mirror, rng=rng)
        return Batch(batch.inputs, {n: -t for n, t in batch.targets.items()}, batch.masks)

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
