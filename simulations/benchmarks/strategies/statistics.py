"""From rows to what may be said: means with intervals, paired tests, fairness, bytes to a target.

The repetition is the seed: it draws the held-out days, the first weights, batches and dials. All
errors are nRMSE of day-ahead consumption; a seed's error is the mean over its honest households.
A household whose model has diverged has no error, and its seed has none either: it has failed. A
mean over the others would praise the strategy for the homes it has lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from simulations.benchmarks.bootstrap import LEVEL

KEYS = ["dial", "strategy"]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and half the width of its 95 % interval (nan for a single seed).

    Where ``failed`` of ``count`` seeds have no value, neither has the mean.
    """

    value: float
    half: float
    failed: int = 0
    count: int = 0

    @property
    def failure(self) -> str:
        """What stands in a table in place of the mean; empty where there is one."""
        return f"failed {self.failed} of {self.count}" if self.failed else ""

    def __str__(self) -> str:
        if self.failed:
            return self.failure
        return f"{self.value:.4f}" + ("" if np.isnan(self.half) else f" ± {self.half:.4f}")


def mean_of(values: Sequence[float] | np.ndarray) -> Mean:
    """Mean with Student's interval; nan and counted where a value is not finite."""
    every = np.asarray(values, dtype=np.float64)
    count = len(every)
    failed = int((~np.isfinite(every)).sum())
    if failed or not count:
        return Mean(float("nan"), float("nan"), failed, count)
    if count < 2:
        return Mean(float(every.mean()), float("nan"), 0, count)
    t = float(stats.t.ppf(0.5 + LEVEL / 2.0, count - 1))
    return Mean(float(every.mean()), t * float(every.std(ddof=1)) / count**0.5, 0, count)


def means(rows: pd.DataFrame, by: str | list[str], columns: list[str]) -> pd.DataFrame:
    """Means of ``columns`` by group; nan where one of a group's values is not finite."""
    finite = rows[columns].where(np.isfinite(rows[columns]))
    keys = [by] if isinstance(by, str) else by
    return finite.groupby([rows[key] for key in keys]).mean(skipna=False)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979); nan stays nan and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    adjusted = np.full(len(p), np.nan)
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, float(p[i]) * (len(order) - rank)))
        adjusted[i] = worst
    return [float(a) for a in adjusted]


def honest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of households that are honest under their dial, in references as well."""
    bad = rows[rows["malicious"]]
    if bad.empty:
        return rows
    pairs = set(zip(bad["dial"], bad["seed"], bad["household"], strict=True))
    mine = zip(rows["dial"], rows["seed"], rows["household"], strict=True)
    return rows[np.array([key not in pairs for key in mine])]


def final(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the last round of each strategy under each dial."""
    last = rows.groupby(KEYS)["round"].transform("max")
    return rows[rows["round"] == last]


@dataclass(frozen=True)
class Difference:
    """One strategy and dial against another: relative change of the error, and a paired test over
    the ``seeds`` in which neither has failed; none where one has in any."""

    own: Mean
    change: Mean
    p: float
    seeds: int


def difference(
    rows: pd.DataFrame, one: tuple[str, str], other: tuple[str, str], column: str = "nrmse"
) -> Difference:
    """Compare (strategy, dial) ``one`` with ``other`` at the end of their runs.

    Paired by seed, over the households that are honest in both; t test over seeds.
    """
    left, right = (
        final(rows[(rows["strategy"] == s) & (rows["dial"] == d)]) for s, d in (one, other)
    )
    keys = ["seed", "household"]
    both = left[~left["malicious"]].merge(right[~right["malicious"]], on=keys)
    found = means(both, "seed", [f"{column}_x", f"{column}_y"])
    own, base = found[f"{column}_x"].to_numpy(), found[f"{column}_y"].to_numpy()
    p = float("nan")
    if len(own) > 1 and float(np.std(own - base)) > 0:
        p = float(stats.ttest_rel(own, base).pvalue)
    change = own / base - 1.0
    return Difference(mean_of(own), mean_of(change), p, int(np.isfinite(change).sum()))


def strategies_of(rows: pd.DataFrame, dial: str) -> list[str]:
    """Strategies under a dial, the best first, those with a home that has failed last."""
    table = means(final(honest(rows[rows["dial"] == dial])), "strategy", ["nrmse"])["nrmse"]
    return [str(name) for name in table.sort_values(kind="stable").index]


def fairness(rows: pd.DataFrame, dial: str) -> pd.DataFrame:
    """Spread over households of their mean final error over seeds, by strategy.

    ``worse``: share of (household, seed) pairs with a larger error than local-only training, or
    none. ``failed`` of ``homes`` have no error in some seed; the spread is then nan.
    """
    last = final(honest(rows[rows["dial"] == dial]))
    homes = means(last, ["strategy", "household"], ["nrmse"])["nrmse"]
    local = last[last["strategy"] == "local-only"].set_index(["household", "seed"])["nrmse"]
    lines = []
    for name, errors in homes.groupby(level=0):
        own = last[last["strategy"] == name].set_index(["household", "seed"])["nrmse"]
        both = pd.concat([own, local], axis=1, keys=["own", "local"], join="inner")
        both = both[np.isfinite(both["local"])]
        failed = int(errors.isna().sum())
        if failed:
            errors = errors * float("nan")
        lines.append(
            {
                "strategy": name,
                "p10": float(errors.quantile(0.1)),
                "median": float(errors.median()),
                "p90": float(errors.quantile(0.9)),
                "worst": float(errors.max()),
                "failed": failed,
                "homes": len(errors),
                "worse": float((~(both["own"] <= both["local"])).mean())
                if len(both) and name != "local-only"
                else float("nan"),
            }
        )
    return pd.DataFrame(lines)


def to_target(rows: pd.DataFrame, dials: Sequence[str], targets: dict[int, float]) -> pd.DataFrame:
    """Rounds, bytes and seconds of the simulated clock until a seed's error is at its target, one
    row per (dial, strategy, seed).

    nan where the target was never reached. The error counts in the rounds it was measured in.
    """
    columns = ["rounds", "bytes_up", "bytes_down", "bytes", "seconds"]
    chosen = honest(rows[rows["dial"].isin(dials)])
    lines = []
    for (dial, name, seed), group in chosen.groupby([*KEYS, "seed"]):
        spent = ["nrmse", "bytes_up", "bytes_down", "simulated_s"]
        curve = means(group, "round", spent)
        line = dict.fromkeys(columns, float("nan"))
        target = targets.get(seed, float("-inf"))  # type: ignore[call-overload]
        reached = curve[curve["nrmse"] <= target]
        if len(reached):
            first = reached.iloc[0]
            line = {
                "rounds": float(reached.index[0]),
                "bytes_up": float(first["bytes_up"]),
                "bytes_down": float(first["bytes_down"]),
                "bytes": float(first["bytes_up"] + first["bytes_down"]),
                "seconds": float(first["simulated_s"]),
            }
        lines.append({"dial": dial, "strategy": name, "seed": seed, **line})
    return pd.DataFrame(lines, columns=["dial", "strategy", "seed", *columns])


def targets(rows: pd.DataFrame, strategy: str, dial: str, share: float) -> dict[int, float]:
    """Per seed, the error at which ``share`` of the gain of a strategy's whole run is made."""
    own = rows[(rows["dial"] == dial) & (rows["strategy"] == strategy)]
    found = {}
    for seed, group in own.groupby("seed"):
        curve = means(group, "round", ["nrmse"])["nrmse"]
        start, end = float(curve.iloc[0]), float(curve.iloc[-1])
        found[int(str(seed))] = start - share * (start - end)
    return found
