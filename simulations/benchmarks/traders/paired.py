"""One row beside another, home by home and week by week: the gain, and how sure it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.arrays import Floats
from simulations.benchmarks.bootstrap import pigeonhole
from simulations.benchmarks.traders.run import Score


@dataclass(frozen=True)
class Gain:
    """By how many points of the optimum ``row`` is ahead of ``base``, mean over spans and seeds.

    low, high: 95 % interval, of homes and weeks drawn anew; nan where there is one of either.
    """

    row: str
    base: str
    points: float
    low: float
    high: float
    homes: int
    weeks: int


def gain(
    scores: Sequence[Score], row: str, base: str, saving: Mapping[tuple[str, int], float]
) -> Gain:
    """Compare two rows that have lived the same spans.

    saving: by span (start, seed), what the optimum saves, to which points are relative.
    """
    cells = _cells(scores, base, saving) - _cells(scores, row, saving)
    homes, weeks = cells.shape
    low = high = float("nan")
    if homes > 1 and weeks > 1:
        found = pigeonhole(cells)
        low, high = cells.size * found.low, cells.size * found.high
    return Gain(row, base, float(cells.sum()), low, high, homes, weeks)


def _cells(scores: Sequence[Score], row: str, saving: Mapping[tuple[str, int], float]) -> Floats:
    """(homes, weeks of all spans) what was paid, in points of each span; means over seeds."""
    spans: dict[str, list[Floats]] = {}
    for score in scores:
        if score.row == row:
            paid = np.array([score.weekly[name] for name in sorted(score.weekly)])
            spans.setdefault(score.start, []).append(100.0 * paid / saving[score.start, score.seed])
    return np.hstack([np.mean(seeds, axis=0) for seeds in spans.values()]) / len(spans)
