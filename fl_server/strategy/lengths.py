"""How far one household may move the model in a round: its change is shortened, not refused.

The Euclidean length of a change is held to ``MULTIPLE`` times the median length of the rounds
before (clipping to a norm bound: Sun et al. 2019, "Can You Really Backdoor Federated Learning?",
arXiv:1911.07963; a bound that follows the lengths of earlier rounds: Andrew et al. 2021,
"Differentially Private Learning with Adaptive Clipping", arXiv:1905.03871). The median is that of
a round's households, and then of the newest ``ROUNDS`` rounds: less than half of a round, or of
the rounds, moves it to no length of its own choice. It is known before a round begins, so changes
are held to it one by one as they arrive.

In the first round a change may be as long as the model itself. A change shorter than a thousandth
of the model is never shortened.
"""

import math
import statistics
from collections.abc import Mapping

import numba
import numpy as np

from common.arrays import Floats32

MULTIPLE = 3.0
ROUNDS = 8
LEAST = 1e-3

Arrays = Mapping[str, Floats32]


@numba.njit(cache=True, nogil=True)
def _squares(after, before):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(after.shape[0]):
        step = np.float64(after[i]) - np.float64(before[i])
        total += step * step
    return total


@numba.njit(cache=True, nogil=True)
def _towards(after, before, share):  # type: ignore[no-untyped-def]
    moved = np.empty(after.shape[0], np.float32)
    for i in range(after.shape[0]):
        step = np.float64(after[i]) - np.float64(before[i])
        moved[i] = np.float64(before[i]) + share * step
    return moved


def length(after: Arrays, before: Arrays) -> float:
    """Euclidean length of the change from ``before`` to ``after`` over all their arrays.

    The sum runs in a fixed order: the same on every machine.
    """
    total = 0.0
    for name in sorted(after):
        total += float(_squares(after[name].reshape(-1), before[name].reshape(-1)))
    return math.sqrt(total)


class Lengths:
    """The lengths of the rounds so far, for one kind of change. ``medians`` is all it keeps."""

    def __init__(self) -> None:
        self.medians: list[float] = []
        self._round: list[float] = []
        self._bound = float("inf")

    @property
    def bound(self) -> float:
        """The length that changes of this round are held to."""
        return self._bound

    def begin(self, model: Arrays) -> None:
        """Begin a round that starts from ``model``."""
        whole = length(model, {name: np.zeros_like(array) for name, array in model.items()})
        # A model of zeros has no length to go by.
        first = whole or float("inf")
        bound = MULTIPLE * statistics.median(self.medians) if self.medians else first
        self._bound = max(bound, LEAST * whole)
        self._round = []

    def shorten(self, after: Arrays, before: Arrays) -> dict[str, Floats32] | None:
        """Return what ``after`` is held to, None where its change is short enough."""
        long = length(after, before)
        self._round.append(min(long, self._bound))
        if long <= self._bound:
            return None
        share = self._bound / long
        return {
            name: _towards(value.reshape(-1), before[name].reshape(-1), share).reshape(value.shape)
            for name, value in after.items()
        }

    def end(self) -> None:
        """End the round: its changes are those the next are measured by."""
        if self._round:
            self.medians = [*self.medians, statistics.median(self._round)][-ROUNDS:]
