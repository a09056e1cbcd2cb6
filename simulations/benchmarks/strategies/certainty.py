"""What may be said of the clean community's table, and how surely: effects, power, ranks."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from simulations.benchmarks.strategies import power
from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies.dials import CLEAN
from simulations.benchmarks.strategies.setup import REFERENCES
from simulations.benchmarks.strategies.tables import BASE, Table
from simulations.report import text
from simulations.report.page import figure, label


def _percent(value: float, digits: int = 2) -> str:
    return text.MISSING if np.isnan(value) else f"{100 * value:+.{digits}f} %"


def change(one: power.Effect, digits: int = 2) -> str:
    """The change of an effect, or how many pairs have failed."""
    if one.failed:
        return f"failed {one.failed} of {one.pairs}"
    return _percent(one.change.value, digits)


def _interval(one: power.Effect) -> str:
    if np.isnan(one.change.low):
        return text.MISSING
    return f"{_percent(one.change.low)} to {_percent(one.change.high)}"


def _better(one: power.Effect) -> str:
    low, value, high = (100 * x for x in (one.better.low, one.better.value, one.better.high))
    if np.isnan(value):
        return text.MISSING
    return f"{value:.0f} %" + ("" if np.isnan(low) else f" ({low:.0f} to {high:.0f})")


def ranks(rows: pd.DataFrame) -> power.Ranks | None:
    """Average ranks of the federated strategies of the clean community over its homes."""
    names = [n for n in stat.strategies_of(rows, CLEAN) if n not in REFERENCES]
    if len(names) < 2:
        return None
    return power.ranks_of(power.errors_of(rows, CLEAN), names)


def table(rows: pd.DataFrame, base: str = BASE) -> Table | None:
    """Each strategy against the base: effect, interval, what would have been found, rank."""
    if not (rows["dial"] == CLEAN).any():
        return None
    names = stat.strategies_of(rows, CLEAN)
    base = base if base in names else names[0]
    found = power.errors_of(rows, CLEAN)
    ranked = ranks(rows)
    of = {} if ranked is None else dict(zip(ranked.names, ranked.ranks, strict=True))
    lines = []
    effects = [power.effect(found[name], found[base]) for name in names if name != base]
    for name, one in zip([n for n in names if n != base], effects, strict=True):
        lines.append(
            [
                name + (" (reference)" if name in REFERENCES else ""),
                change(one),
                _interval(one),
                "yes" if one.change.sure else "no",
                _better(one),
                text.MISSING if np.isnan(one.found) else f"{100 * one.found:.2f} %",
                f"{of[name]:.2f}" if name in of else text.MISSING,
            ]
        )
    if not effects:
        return None
    note = (
        f"Relative change of a home's error against {base}, mean over {effects[0].seeds} seeds and "
        f"{effects[0].homes} homes; intervals of 95 % from seeds and homes drawn anew, each side "
        "for itself (Owen 2007), Student's with the freedom of the smaller side. Better: share of "
        "(seed, home) pairs. Failed: pairs in which one of the two has no error, as a model has "
        "diverged. Would have been found: the "
        "least true change that four of five such comparisons see (Bloom 1995); what is smaller "
        "may be there. Intervals are not corrected for their number: the table above is."
    )
    if ranked is not None:
        note += (
            f" Rank: mean over homes of its errors' means over seeds; {base} has "
            f"{of.get(base, float('nan')):.2f}. Friedman's test (Iman and Davenport): "
            f"F {ranked.f:.2f}, p {ranked.p:.3g}; ranks that differ by less than "
            f"{ranked.distance:.2f} cannot be told apart (Nemenyi, Demsar 2006)."
        )
    return Table(
        f"How sure: strategies against {base}",
        (
            "strategy", f"against {base}", "95 % interval", "sure", "better", "would be found",
            "rank",
        ),
        lines,
        note,
    )  # fmt: skip


def picture(rows: pd.DataFrame) -> Markup | str:
    """The critical-difference picture: ranks on a line, bars over those that do not differ."""
    found = ranks(rows)
    if found is None:
        return ""
    order = np.argsort(found.ranks, kind="stable")
    places = found.ranks[order]
    names = [label(found.names[i]) for i in order]
    count = len(names)
    rows_of = {place: count - place for place in range(count)}
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers+text",
            "showlegend": False,
            "x": [round(float(p), 3) for p in places],
            "y": [rows_of[i] for i in range(count)],
            "text": [f"{name}  {place:.2f}" for name, place in zip(names, places, strict=True)],
            "textposition": "middle right",
            "marker": {"color": "@1", "size": 9},
        }
    ]
    for first, last in found.groups():
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "showlegend": False,
                "x": [round(float(places[first]), 3), round(float(places[last]), 3)],
                "y": [rows_of[last] - 0.45] * 2,
                "line": {"color": "@4", "width": 5},
                "hoverinfo": "skip",
            }
        )
    layout = {
        "xaxis": {
            "title": {"text": "average rank over homes, 1 is best"},
            "range": [0.8, float(places.max()) + 0.25 * max(1.0, float(np.ptp(places)))],
        },
        "yaxis": {"visible": False, "range": [-0.2, count + 0.8]},
    }
    caption = (
        f"{found.blocks} homes. A bar covers strategies whose ranks differ by less than "
        f"{found.distance:.2f}, the critical difference at 5 %: no test tells them apart."
    )
    return figure("Average ranks", traces, layout, caption=caption, height=140 + 26 * count)
