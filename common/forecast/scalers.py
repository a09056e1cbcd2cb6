"""A household's own scaling: fitted on its training span, kept on its disk, never sent."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats
from common.errors import InputError
from common.forecast.features import FEATURES, feature_matrix
from common.forecast.history import History
from common.forecast.streams import KINDS


@dataclass(frozen=True)
class Scaler:
    """Mean and scale of the 24 features, (24,), and of the targets consumption and price, (2,)."""

    feature_mean: Floats
    feature_scale: Floats
    target_mean: Floats
    target_scale: Floats

    def features(self, raw: Floats) -> NDArray[np.float32]:
        """Scale (..., 24) features."""
        return ((raw - self.feature_mean) / self.feature_scale).astype(np.float32)

    def arrays(self) -> dict[str, Floats]:
        """Return the scaler as named arrays, to be saved."""
        return {name: getattr(self, name) for name in _SHAPES}


_SHAPES = {
    "feature_mean": (len(FEATURES),),
    "feature_scale": (len(FEATURES),),
    "target_mean": (len(KINDS),),
    "target_scale": (len(KINDS),),
}


def fit_scaler(history: History, start: int, stop: int) -> Scaler:
    """Fit on rows ``start`` to ``stop``: the training span only.

    A feature that never changes there gets scale 1. Raises InputError for an empty span.
    """
    if not 0 <= start < stop <= len(history):
        raise InputError(f"scaler: rows {start} to {stop} of a history of {len(history)} rows")
    targets = np.stack([history.consumption(start, stop), history.price(start, stop)], axis=1)
    return Scaler(*mean_and_scale(feature_matrix(history, start, stop)), *mean_and_scale(targets))


def mean_and_scale(rows: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (F,) of the columns of (T, F) rows, nan left out.

    As scikit-learn's StandardScaler, to the last bit, without a second for its import: two passes
    with a correction (Chan, Golub, LeVeque 1983). What rounding cannot tell from a constant has
    scale 1.
    """
    missing = np.isnan(rows)
    total = np.nansum if missing.any() else np.sum
    count = len(rows) - missing.sum(axis=0)
    mean = total(rows, axis=0) / count
    off = rows - mean
    correction = total(off, axis=0) ** 2 / count
    variance = (total(off**2, axis=0) - correction) / count
    rounding = count * np.finfo(np.float64).eps
    constant = variance <= rounding * variance + (rounding * mean) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def scaler_from_arrays(arrays: Mapping[str, NDArray[np.floating]]) -> Scaler:
    """Rebuild a scaler from ``Scaler.arrays``. Raises InputError that names a bad array."""
    checked = {}
    for name, shape in _SHAPES.items():
        if name not in arrays:
            raise InputError(f"scaler: array {name!r} is missing")
        array = np.asarray(arrays[name], dtype=np.float64)
        if array.shape != shape or not np.isfinite(array).all():
            raise InputError(f"scaler: array {name!r} is not {shape} finite numbers")
        checked[name] = array
    if (checked["feature_scale"] <= 0).any() or (checked["target_scale"] <= 0).any():
        raise InputError("scaler: a scale is not positive")
    return Scaler(**checked)
