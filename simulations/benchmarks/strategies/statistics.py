"""From rows to what may be said: means with intervals, paired tests, fairness, bytes to a target.

The repetition is the seed: it draws the held-out days, the first weights, batches and dials. All
errors are nRMSE of day-ahead consumption; a seed's error is the mean over its honest households.
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
    """A mean over seeds and half the width of its 95 % interval (nan for a single seed)."""

    value: float
    half: float

    def __str__(self) -> str:
        return f"{self.value:.4f}" + ("" if np.isnan(self.half) else f" ± {self.half:.4f}")


def mean_of(values: Sequence[float] | np.ndarray) -> Mean:
    """Mean with Student's interval; values that are nan are left out."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if len(kept) < 2:
        return Mean(float(kept.mean()) if len(kept) else float("nan"), float("nan"))
    t = float(stats.t.ppf(0.5 + LEVEL / 2.0, len(kept) - 1))
    return Mean(float(kept.mean()), t * float(kept.std(ddof=1)) / len(kept) ** 0.5)


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
    """One strategy and dial against another: relative change of the error, and a paired test."""

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
    means = both.groupby("seed")[[f"{column}_x", f"{column}_y"]].mean()
    own, base = means[f"{column}_x"].to_numpy(), means[f"{column}_y"].to_numpy()
    p = float("nan")
    if len(own) > 1 and float(np.std(own - base)) > 0:
        p = float(stats.ttest_rel(own, base).pvalue)
    return Difference(mean_of(own), mean_of(own / base - 1.0), p, len(own))


def strategies_of(rows: pd.DataFrame, dial: str) -> list[str]:
    """Strategies under a dial, the best first."""
    table = final(honest(rows[rows["dial"] == dial])).groupby("strategy")["nrmse"].mean()
    return [str(name) for name in table.sort_values(kind="stable").index]


def fairness(rows: pd.DataFrame, dial: str) -> pd.DataFrame:
    """Spread over households of their mean final error over seeds, by strategy.

    ``worse``: share of (household, seed) pairs with a larger error than local-only training.
    """
    last = final(honest(rows[rows["dial"] == dial]))
    homes = last.groupby(["strategy", "household"])["nrmse"].mean()
    local = last[last["strategy"] == "local-only"].set_index(["household", "seed"])["nrmse"]
    lines = []
    for name, errors in homes.groupby(level=0):
        own = last[last["strategy"] == name].set_index(["household", "seed"])["nrmse"]
        both = pd.concat([own, local], axis=1, keys=["own", "local"]).dropna()
        lines.append(
            {
                "strategy": name,
                "p10": float(errors.quantile(0.1)),
                "median": float(errors.median()),
                "p90": float(errors.quantile(0.9)),
                "worst": float(errors.max()),
                "worse": float((both["own"] > both["local"]).mean())
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
        curve = group.groupby("round")[spent].mean()
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
        curve = group.groupby("round")["nrmse"].mean()
        start, end = float(curve.iloc[0]), float(curve.iloc[-1])
        found[int(str(seed))] = start - share * (start - end)
    return found
