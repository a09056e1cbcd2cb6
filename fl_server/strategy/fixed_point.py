"""A weighted sum of models in integers: the same bytes whatever order the models arrive in.

Floating-point addition depends on the order of its terms, and replies arrive in any order. Each
weight is therefore rounded to 30 binary places (error below 1e-9) and summed in int64.
"""

from collections.abc import Mapping

import numba
import numpy as np
from numpy.typing import NDArray

FRACTION_BITS = 30
_SCALE = float(2**FRACTION_BITS)
_LIMIT = 2.0**62

Arrays = Mapping[str, NDArray[np.float32]]


@numba.njit(cache=True, nogil=True)
def _largest(bits):  # type: ignore[no-untyped-def]
    # Without their sign bit IEEE floats are in the order of their bits, infinity and NaN last.
    largest = np.uint32(0)
    for one in bits:
        largest = max(largest, one & np.uint32(0x7FFFFFFF))
    return largest


@numba.njit(cache=True, nogil=True)
def _add(total, values, weight):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        total[i] += np.int64(np.rint(values[i] * _SCALE)) * weight


@numba.njit(cache=True, nogil=True)
def _divide(total, divisor):  # type: ignore[no-untyped-def]
    mean = np.empty(total.shape[0], np.float32)
    for i in range(total.shape[0]):
        mean[i] = total[i] / divisor
    return mean


def largest_magnitude(array: NDArray[np.floating]) -> float:
    """Largest |value| of an array, in float32; inf where any is NaN, infinite or beyond float32."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
    largest = float(np.uint32(_largest(values.view(np.uint32))).view(np.float32))
    return largest if largest < np.inf else np.inf


class WeightedSum:
    """Sum of weight * model, held in one int64 copy of the model whatever the number of models."""

    def __init__(self) -> None:
        self._totals: dict[str, NDArray[np.int64]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.weight = 0

    def add(self, arrays: Arrays, weight: int) -> None:
        """Add ``weight`` (>= 1) times a model.

        Raises OverflowError, before anything is added, where the sum would leave the range of
        int64, and ValueError for a weight below 1 or a shape other than the first model's.
        """
        if weight < 1:
            raise ValueError(f"weight {weight} is below 1")
        shapes = {name: array.shape for name, array in arrays.items()}
        if self._totals and shapes != self._shapes:
            raise ValueError("arrays have other names or shapes than the first model's")
        largest = max((largest_magnitude(array) for array in arrays.values()), default=0.0)
        if largest * _SCALE * (self.weight + weight) >= _LIMIT:
            raise OverflowError(f"a weight of magnitude {largest:g} is too large to average")
        if not self._totals:
            self._shapes = shapes
            self._totals = {n: np.zeros(a.size, dtype=np.int64) for n, a in arrays.items()}
        for name, array in arrays.items():
            _add(self._totals[name], np.ascontiguousarray(array).reshape(-1), weight)
        self.weight += weight

    def mean(self) -> dict[str, NDArray[np.float32]]:
        """Weighted mean of the models added; raises ValueError when there are none."""
        if self.weight == 0:
            raise ValueError("no model was added")
        divisor = self.weight * _SCALE
        return {
            name: _divide(total, divisor).reshape(self._shapes[name])
            for name, total in self._totals.items()
        }
