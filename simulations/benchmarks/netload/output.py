"""Table, JSON and picture of the net-load benchmark."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import Floats
from common.files import write_json
from simulations.benchmarks.bootstrap import Interval, pigeonhole
from simulations.benchmarks.netload.run import FEDERATED, OWN, Errors, Found
from simulations.benchmarks.traders.paired import gain

TITLES = {
    OWN: "own days",
    FEDERATED: "federated",
    "local_only": "each home alone",
    "centralised": "centralised",
    "lightgbm": "LightGBM, pooled",
}


def summary(found: Found, rows: Sequence[str]) -> dict[str, Any]:
    """Each row's errors and share of the optimum, and what it has over own days and the federation.

    Differences of CRPS are in per cent of each home's with own days; all intervals are over homes
    and weeks, seeds averaged before.
    """
    table = {}
    for row in rows:
        mine = [one for one in found.errors if one.row == row]
        lived = [score for score in found.scores if score.row == row]
        table[row] = {
            "crps_kwh": float(np.mean([one.crps.mean() for one in mine])),
            "crps_now_kwh": float(np.mean([one.crps_now.mean() for one in mine])),
            "rmse_kwh": float(np.mean([one.rmse.mean() for one in mine])),
            "cover": float(np.mean([one.cover for one in mine])),
            "by_step_kwh": np.mean([one.by_step for one in mine], 0).tolist(),
            "share_of_optimum": float(np.mean([s.share_of_optimum for s in lived]))
            if lived
            else None,
            "losers": sum(score.losers for score in lived) if lived else None,
            "by_span": {
                start: float(np.mean([s.share_of_optimum for s in lived if s.start == start]))
                for start in dict.fromkeys(score.start for score in lived)
            },
        }
    pairs = [(row, OWN) for row in rows if row != OWN and OWN in rows]
    pairs += [(FEDERATED, row) for row in rows if row not in (OWN, FEDERATED) and FEDERATED in rows]
    compared = []
    for row, base in pairs:
        one: dict[str, Any] = {"row": row, "base": base}
        for name in ("crps", "crps_now"):
            one[name] = asdict(_lower(found.errors, row, base, name))
        if found.scores:
            one["points"] = asdict(gain(found.scores, row, base, found.saving))
        compared.append(one)
    return {"rows": table, "compared": compared}


def _lower(errors: Sequence[Errors], row: str, base: str, name: str) -> Interval:
    """By how many per cent of own days' CRPS that of ``row`` is below that of ``base``."""
    spans = []
    for start in dict.fromkeys(one.start for one in errors):

        def mean(which: str, start: str = start) -> Floats:
            mine = [getattr(o, name) for o in errors if o.row == which and o.start == start]
            return np.asarray(np.mean(mine, axis=0))

        reference = mean(OWN if any(one.row == OWN for one in errors) else base)
        by_home = reference.mean(1, keepdims=True)
        spans.append(100.0 * (mean(base) - mean(row)) / by_home)
    return pigeonhole(np.hstack(spans))


def lines(made: dict[str, Any]) -> list[str]:
    """The table and the comparisons as text."""
    head = f"{'':18}{'CRPS Wh':>9}{'now':>8}{'RMSE Wh':>9}{'inside':>8}{'optimum':>9}{'losers':>8}"
    told = [head]
    for row, one in made["rows"].items():
        share, losers = one["share_of_optimum"], one["losers"]
        told.append(
            f"{TITLES[row]:18}{1e3 * one['crps_kwh']:9.1f}{1e3 * one['crps_now_kwh']:8.1f}"
            f"{1e3 * one['rmse_kwh']:9.1f}{one['cover']:8.1%}"
            + ("" if share is None else f"{share:9.2%}{losers:8d}")
        )
    for one in made["compared"]:
        text = f"{TITLES[one['row']]} beside {TITLES[one['base']]}: CRPS "
        text += f"{_above(one['crps'])} %, of now {_above(one['crps_now'])} %"
        if "points" in one:
            points = one["points"]
            text += f", {points['points']:+.2f} points of the optimum "
            text += f"({points['low']:+.2f} to {points['high']:+.2f})"
        told.append(text)
    return told


def _above(lower: dict[str, float]) -> str:
    """By how much it is higher, of how much it is lower."""
    return f"{-lower['value']:+.1f} ({-lower['high']:+.1f} to {-lower['low']:+.1f})"


def write(made: dict[str, Any], found: Found, facts: dict[str, Any], out: Path) -> None:
    """Write results.json and picture.png."""
    out.mkdir(parents=True, exist_ok=True)
    every = [asdict(score) for score in found.scores]
    errors = [
        {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in it}
        for it in (asdict(one).items() for one in found.errors)
    ]
    saving = [{"start": s, "seed": n, "saving": value} for (s, n), value in found.saving.items()]
    told = {"scores": every, "errors": errors, "saving": saving}
    write_json(out / "results.json", {**facts, **made, **told})
    _picture(made, out / "picture.png")


def _picture(made: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = made["rows"]
    base = np.array(rows[OWN]["by_step_kwh"]) if OWN in rows else 1.0
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row, one in rows.items():
        values = np.array(one["by_step_kwh"]) / base
        style = {"color": "#888888", "linewidth": 1.0} if row == OWN else {"linewidth": 1.6}
        hours = np.arange(len(values)) / 2
        axes.plot(hours, 100 * values if OWN in rows else values, label=TITLES[row], **style)
    axes.set_xlabel("hours ahead")
    axes.set_ylabel("CRPS of net load, % of own days" if OWN in rows else "CRPS of net load, kWh")
    axes.set_xlim(0, 23.5)
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)
