"""Intervals of a mean over two crossed samples, each with all of the other: seeds or weeks, homes.

Both are drawn anew, independently of each other (Owen 2007, "The pigeonhole bootstrap", Annals of
Applied Statistics 1(2), arXiv:0704.1866): seeds of one home are alike, as are weeks of one weather.
It errs on the wide side.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Floats
from common.rng import generator

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A mean, its 95 % interval and its standard error."""

    value: float
    low: float
    high: float
    error: float

    @property
    def sure(self) -> bool:
        """Whether 0 is outside."""
        return self.low > 0 or self.high < 0


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"), float("nan"))
"""Of nothing, or of what has no value: never sure."""


def pigeonhole(cells: Floats, resamples: int = RESAMPLES) -> Interval:
    """Mean of ``cells`` (N, M) with its interval from rows and columns drawn anew.

    With one row, or one column, that side is taken as it is: the interval speaks of the other.
    """
    rows, columns = cells.shape
    rng = generator(0, "", 0, "paired bootstrap")
    drawn = [(_shares(rng, rows), _shares(rng, columns)) for _ in range(resamples)]
    by_row, by_column = (np.stack(side) for side in zip(*drawn, strict=True))
    means = np.einsum("bn,nm,bm->b", by_row, cells, by_column)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(cells.mean()), float(low), float(high), float(means.std()))


def _shares(rng: np.random.Generator, count: int) -> Floats:
    """How often each of ``count`` is drawn, as a share of all draws."""
    return np.bincount(rng.integers(count, size=count), minlength=count) / count
