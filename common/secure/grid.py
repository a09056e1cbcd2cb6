"""Models as integers modulo 2^64 on one common grid, so that masked sums are exact.

A weight becomes round(weight * 2^30), times the household's weight in the mean. Sums of such words
modulo 2^64 are those that the plain FedAvg makes of the same models in int64, bit for bit, as long
as no sum leaves 63 bits; ``words`` refuses a model that could make one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Weights = Mapping[str, NDArray[np.float32]]

FRACTION_BITS = 30
_SCALE = float(2**FRACTION_BITS)
_LIMIT = 2.0**62
METRIC_BITS = 20
_METRIC_SCALE = float(2**METRIC_BITS)
_MOST_METRIC = 2.0**20


def words(arrays: Weights, weight: int, metrics: Sequence[float], households: int) -> Words:
    """Weighted words (P,): ``arrays`` in the order of their names, ``weight``, ``metrics``.

    ``weight`` >= 1 is what the household counts for in the mean, ``households`` how many may be
    added up. A metric that is not finite counts as 0. Raises ValueError for a model that is not
    finite, and OverflowError for one whose sum over ``households`` could leave the range.
    """
    if weight < 1:
        raise ValueError(f"weight {weight} is below 1")
    flat = [np.asarray(array, np.float64).reshape(-1) for _, array in sorted(arrays.items())]
    values = np.concatenate(flat) if flat else np.zeros(0)
    if not np.isfinite(values).all():
        raise ValueError("a model that is not finite")
    largest = float(np.abs(values).max(initial=0.0))
    if max(largest * _SCALE, _MOST_METRIC * _METRIC_SCALE) * weight * households >= _LIMIT:
        raise OverflowError(f"a weight of {largest:g} is too large to be added up")
    told = np.nan_to_num(np.asarray(metrics, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    told = np.clip(told, -_MOST_METRIC, _MOST_METRIC)
    model = np.rint(values * _SCALE).astype(np.int64) * np.int64(weight)
    tail = np.rint(told * _METRIC_SCALE).astype(np.int64) * np.int64(weight)
    whole = np.concatenate([model, np.array([weight], np.int64), tail])
    return whole.view(np.uint64)


def length(shapes: Mapping[str, tuple[int, ...]], metrics: int) -> int:
    """How many words a model of these shapes makes, with its weight and so many metrics."""
    return sum(int(np.prod(shape)) for shape in shapes.values()) + 1 + metrics


def mean(
    total: Words, shapes: Mapping[str, tuple[int, ...]], metrics: int
) -> tuple[dict[str, NDArray[np.float32]], int, list[float]]:
    """(mean model, sum of weights, mean of each metric) of a sum of ``words``.

    Raises ValueError where the sum cannot be one: of another length, or of no weight.
    """
    signed = total.view(np.int64)
    size = length(shapes, metrics) - 1 - metrics
    if len(signed) != size + 1 + metrics:
        raise ValueError(f"{len(signed)} words for {size} weights and {metrics} metrics")
    weight = int(signed[size])
    if weight < 1:
        raise ValueError(f"a sum of weights of {weight}")
    divisor = weight * _SCALE
    arrays, at = {}, 0
    for name, shape in sorted(shapes.items()):
        count = int(np.prod(shape))
        # Float64 by division, rounded once: what the plain mean does.
        arrays[name] = (signed[at : at + count] / divisor).astype(np.float32).reshape(shape)
        at += count
    told = [float(value) / (weight * _METRIC_SCALE) for value in signed[size + 1 :]]
    return {name: arrays[name] for name in shapes}, weight, told
