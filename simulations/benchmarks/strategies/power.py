"""How sure a comparison is: intervals over seeds and homes, what it could have found, ranks.

A cell of a comparison is (seed, home), and both are drawn: other days would give other errors, and
so would other homes. Every seed has every home, so the two are crossed in the bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from common.arrays import Floats
from simulations.benchmarks.bootstrap import LEVEL, UNKNOWN, Interval, pigeonhole
from simulations.benchmarks.strategies.statistics import final, honest

POWER = 0.8


def smallest_effect(error: float, freedom: float, power: float = POWER) -> float:
    """The least true effect that a two-sided test at 5 % would have found with ``power``.

    (t_0.975 + t_power) standard errors (Bloom 1995, "Minimum detectable effects", Evaluation Review
    19(5)): 2.8 of them with many degrees of ``freedom``. nan without any.
    """
    if freedom < 1:
        return float("nan")
    sides = (0.5 + LEVEL / 2.0, power)
    return float(sum(stats.t.ppf(side, freedom) for side in sides)) * error


@dataclass(frozen=True)
class Ranks:
    """Average ranks of k strategies over n homes, 1 the best; Friedman's test; and the distance
    at which two ranks differ (Nemenyi's test at 5 %).

    Demsar 2006, "Statistical comparisons of classifiers over multiple data sets", Journal of
    Machine Learning Research 7, section 3.2.
    """

    names: Sequence[str]
    ranks: Floats
    blocks: int
    chi_square: float
    f: float
    p: float
    distance: float

    def groups(self) -> list[tuple[int, int]]:
        """(first, last) places, in the order of ranks, of the largest groups that do not differ."""
        order = np.sort(self.ranks)
        found: list[tuple[int, int]] = []
        for first in range(len(order)):
            last = int(np.flatnonzero(order - order[first] <= self.distance)[-1])
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return found


def average_ranks(errors: Floats, names: Sequence[str]) -> Ranks:
    """Rank ``errors`` (n homes, k strategies), the smallest first; ties share their ranks.

    F is Iman's and Davenport's correction of Friedman's chi square. Raises ValueError for fewer
    than two homes or strategies.
    """
    n, k = errors.shape
    if n < 2 or k < 2:
        raise ValueError("ranks need at least two homes and two strategies")
    placed = stats.rankdata(errors, axis=1)
    ranks = placed.mean(axis=0)
    chi = _chi_square(placed)
    left = n * (k - 1) - chi
    f = float("inf") if left <= 0 else (n - 1) * chi / left
    return Ranks(
        list(names),
        ranks,
        n,
        chi,
        f,
        float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))),
        critical_difference(k, n),
    )


def _chi_square(ranks: Floats) -> float:
    """Friedman's, of ranks (n homes, k strategies), corrected for ties; 0 where all are tied."""
    if np.ptp(ranks) == 0.0:
        return 0.0
    if ranks.shape[1] > 2:
        return float(stats.friedmanchisquare(*ranks.T).statistic)
    # For two strategies, which scipy leaves to the sign test, the same formula without ties.
    better, worse = (ranks[:, 0] < ranks[:, 1]).sum(), (ranks[:, 0] > ranks[:, 1]).sum()
    return float((better - worse) ** 2 / (better + worse))


def critical_difference(k: int, n: int, level: float = 0.05) -> float:
    """Nemenyi's critical difference of average ranks: q sqrt(k (k + 1) / (6 n))."""
    q = float(stats.studentized_range.ppf(1.0 - level, k, np.inf)) / 2.0**0.5
    return float(q * (k * (k + 1) / (6.0 * n)) ** 0.5)


@dataclass(frozen=True)
class Effect:
    """One strategy against another over seeds and homes.

    ``change`` of a home's error, relative; ``better``: share of (seed, home) pairs in which its
    error is the smaller, ties half; ``found``: the least change that would have been found in four
    of five such comparisons. ``failed`` of ``pairs``: those in which one of the two has no error;
    of a change nothing is said then.
    """

    change: Interval
    better: Interval
    found: float
    seeds: int
    homes: int
    pairs: int
    failed: int = 0


def errors_of(rows: pd.DataFrame, dial: str, column: str = "nrmse") -> dict[str, pd.DataFrame]:
    """Final errors (seeds, homes) of each strategy under a dial, of the seeds and homes of all.

    Infinite where a home has no error, as its model has diverged; nan where it does not count, as
    it is malicious in that seed.
    """
    last = final(honest(rows[rows["dial"] == dial]))
    last = last.assign(**{column: last[column].where(np.isfinite(last[column]), np.inf)})
    return {
        str(name): one.pivot(index="seed", columns="household", values=column)
        for name, one in last.groupby("strategy")
    }


def effect(own: pd.DataFrame, other: pd.DataFrame) -> Effect:
    """Compare errors (seeds, homes) of one strategy with another's, pair by pair.

    A pair in which a home does not count, as it is malicious in that seed, is missing.
    """
    left, right = own.align(other, join="inner")
    a, b = left.to_numpy(np.float64), right.to_numpy(np.float64)
    there = ~(np.isnan(a) | np.isnan(b))
    failed = int((there & ~(np.isfinite(a) & np.isfinite(b))).sum())
    change = UNKNOWN if failed else pigeonhole(a / b - 1.0, there)
    better = pigeonhole((a < b) + 0.5 * (a == b), there)
    # It is a share, which Student's interval knows nothing of.
    low, high = max(0.0, better.low), min(1.0, better.high)
    better = better if np.isnan(better.low) else replace(better, low=low, high=high)
    # Of two crossed samples the smaller bounds what is known of the error itself, as in intervals.
    found = smallest_effect(change.error, min(a.shape, default=0) - 1)
    return Effect(change, better, found, *a.shape, int(there.sum()), failed)


def ranks_of(found: dict[str, pd.DataFrame], names: Sequence[str]) -> Ranks | None:
    """Ranks of strategies by each home's mean error over seeds; None where there are too few.

    A home whose model has diverged puts its strategy last.
    """
    means = pd.concat([found[name].mean(axis=0) for name in names], axis=1).dropna()
    if means.shape[0] < 2 or means.shape[1] < 2:
        return None
    return average_ranks(means.to_numpy(np.float64), names)
