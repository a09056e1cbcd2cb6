"""Under which dials the choice of a strategy matters, by more than chance explains."""

import numpy as np
import pandas as pd

from simulations.benchmarks.strategies import power
from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies.setup import REFERENCES
from simulations.benchmarks.strategies.tables import BASE, Table
from simulations.report import text

LEVEL = 0.05


def table(rows: pd.DataFrame) -> Table | None:
    """A line a dial: its best strategy against the base under the same dial, and all that differ
    from the base surely, after Holm's correction for every pair of the table."""
    effects: dict[str, dict[str, power.Effect]] = {}
    for dial in sorted(set(rows["dial"])):
        names = [n for n in stat.strategies_of(rows, dial) if n not in REFERENCES]
        if BASE not in names or len(names) < 2:
            continue
        errors = power.errors_of(rows, dial)
        effects[dial] = {
            name: power.effect(errors[name], errors[BASE]) for name in names if name != BASE
        }
    pairs = [(dial, name) for dial, found in effects.items() for name in found]
    corrected = stat.holm([effects[dial][name].change.p for dial, name in pairs])
    p = dict(zip(pairs, corrected, strict=True))
    if len(effects) < 2 or np.isnan(corrected).all():
        return None
    lines = []
    for dial, found in effects.items():
        best = min(found, key=lambda name: _order(found[name]))
        least = np.array([one.found for one in found.values()])
        sure = [name for name in found if p[dial, name] < LEVEL]
        worse = [name for name in sure if found[name].change.value > 0]
        if best not in (lost := [name for name in found if found[name].failed]):
            worse += lost  # where the best has failed as well it is the base that has
        lines.append(
            [
                dial,
                best,
                _change(found[best]),
                f"{100 * found[best].change.low:+.1f} to {100 * found[best].change.high:+.1f} %",
                text.MISSING if np.isnan(p[dial, best]) else f"{p[dial, best]:.3f}",
                _named(found, [name for name in sure if found[name].change.value < 0]),
                _named(found, worse),
                f"{100 * np.nanmedian(least):.1f} %" if np.isfinite(least).any() else text.MISSING,
            ]
        )
    one = next(iter(next(iter(effects.values())).values()))
    return Table(
        "Where the choice matters",
        (
            "dial", "best but for " + BASE, f"against {BASE}", "95 % interval", "p (Holm)",
            "surely better", "surely worse", "would be found",
        ),
        lines,
        f"Relative change of an honest home's error against {BASE} under the same dial, mean over "
        f"{one.seeds} seeds and their homes; intervals and p from seeds and homes drawn anew, each "
        f"side for itself. Surely: p below {LEVEL} after Holm's correction for all {len(pairs)} "
        "pairs of a dial and a strategy. Would be found: the least true change that four of five "
        "comparisons see before that correction, median over the strategies.",
    )  # fmt: skip


def _order(one: power.Effect) -> float:
    return float("inf") if np.isnan(one.change.value) else one.change.value


def _change(one: power.Effect) -> str:
    if one.failed:
        return f"failed {one.failed} of {one.seeds * one.homes}"
    return f"{100 * one.change.value:+.1f} %"


def _named(found: dict[str, power.Effect], names: list[str]) -> str:
    told = sorted(names, key=lambda name: _order(found[name]))
    return ", ".join(f"{name} {_change(found[name])}" for name in told) or "none"
