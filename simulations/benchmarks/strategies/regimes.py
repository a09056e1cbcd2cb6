"""Under which dials the choice of a strategy matters, by more than chance explains."""

import numpy as np
import pandas as pd

from simulations.benchmarks.bootstrap import Interval
from simulations.benchmarks.strategies import power
from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies.certainty import change
from simulations.benchmarks.strategies.setup import REFERENCES
from simulations.benchmarks.strategies.tables import BASE, Table, probability
from simulations.report import text

LEVEL = 0.05


def table(rows: pd.DataFrame, base: str = BASE) -> Table | None:
    """A line a dial: its best strategy against the base under the same dial, and all that differ
    from the base surely, after Holm's correction for the strategies of that dial."""
    effects: dict[str, dict[str, power.Effect]] = {}
    for dial in sorted(set(rows["dial"])):
        names = [n for n in stat.strategies_of(rows, dial) if n not in REFERENCES]
        if base not in names or len(names) < 2:
            continue
        errors = power.errors_of(rows, dial)
        effects[dial] = {
            name: power.effect(errors[name], errors[base]) for name in names if name != base
        }
    pairs = [(dial, name) for dial, found in effects.items() for name in found]
    corrected = stat.holm([effects[dial][name].change.p for dial, name in pairs])
    of_all = dict(zip(pairs, corrected, strict=True))
    if len(effects) < 2 or np.isnan(corrected).all():
        return None
    lines = []
    for dial, found in effects.items():
        p = dict(zip(found, stat.holm([one.change.p for one in found.values()]), strict=True))
        best = min(found, key=lambda name: _order(found[name]))
        least = np.array([one.found for one in found.values()])
        sure = [name for name in found if p[name] < LEVEL]
        worse = [name for name in sure if found[name].change.value > 0]
        if best not in (lost := [name for name in found if found[name].failed]):
            worse += lost  # where the best has failed as well it is the base that has
        lines.append(
            [
                dial,
                best,
                change(found[best], 1),
                _interval(found[best].change),
                probability(p[best]),
                probability(of_all[dial, best]),
                _named(found, [name for name in sure if found[name].change.value < 0]),
                _named(found, worse),
                f"{100 * np.nanmedian(least):.1f} %" if np.isfinite(least).any() else text.MISSING,
            ]
        )
    one = next(iter(next(iter(effects.values())).values()))
    return Table(
        "Where the choice matters",
        (
            "dial", "best but for " + base, f"against {base}", "95 % interval", "p (Holm)",
            "p (Holm, all)", "surely better", "surely worse", "would be found",
        ),
        lines,
        f"Relative change of an honest home's error against {base} under the same dial, mean over "
        f"{one.seeds} seeds and their homes; intervals and p from seeds and homes drawn anew, each "
        "side for itself, the interval as if the best had been named before. Surely: p below "
        f"{LEVEL} after Holm's correction for the strategies of the dial; all: for all "
        f"{len(pairs)} pairs of {len(effects)} dials and their strategies, without which one dial "
        "in twenty may show a strategy by chance. Would be found: the least true change that four "
        "of five comparisons see before any correction, median over the strategies.",
    )  # fmt: skip


def _interval(found: Interval) -> str:
    if np.isnan(found.low):
        return text.MISSING
    return f"{100 * found.low:+.1f} to {100 * found.high:+.1f} %"


def _order(one: power.Effect) -> float:
    return float("inf") if np.isnan(one.change.value) else one.change.value


def _named(found: dict[str, power.Effect], names: list[str]) -> str:
    told = sorted(names, key=lambda name: _order(found[name]))
    return ", ".join(f"{name} {change(found[name], 1)}" for name in told) or "none"
