"""Table, JSON and picture of a trader benchmark."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from common.files import write_json
from simulations.benchmarks.traders.paired import Gain
from simulations.benchmarks.traders.run import Score, table

RESULTS, PICTURE = "results.json", "picture.png"
_TITLES = {
    "losers": "losers",
    "peak_ratio": "peak / no battery",
    "self_sufficiency": "self-sufficient %",
    "cycles": "cycles",
    "traded_kwh": "traded kWh",
    "over_cap": "% above cap",
    "nrmse": "load nRMSE",
    "money_per_point": "money / point",
}


def write(
    out: Path,
    scores: Sequence[Score],
    gains: Sequence[Gain],
    references: Mapping[str, Mapping[str, float | None]],
    facts: dict[str, Any],
) -> None:
    """Write results.json and picture.png into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    lines = table(scores)
    found = {
        **facts,
        "references": references,
        "gains": [asdict(one) for one in gains],
        "table": json.loads(lines.to_json(orient="records")),
        "scores": [asdict(score) for score in scores],
    }
    write_json(out / RESULTS, found)
    _picture(lines, out / PICTURE)


def show(scores: Sequence[Score], gains: Sequence[Gain] = ()) -> None:
    """Print the table: share of the optimum in per cent by span, then the means, then gains."""
    lines = table(scores)
    spans = [column for column in lines.columns if column[:2].isdigit()]
    printed = Table(title="share of the perfect-foresight community optimum, %")
    printed.add_column("trader, forecast", no_wrap=True)
    for title in (*spans, "mean", *_TITLES.values()):
        printed.add_column(title, justify="right")
    for _, line in lines.iterrows():
        cells = [f"{100 * line[span]:.1f}" for span in (*spans, "share")]
        for name in _TITLES:
            value = line[name]
            percent = 100 if name in ("self_sufficiency", "over_cap") else 1
            digits = 0 if name in ("losers", "traded_kwh") else 2 if name != "cycles" else 1
            cells.append("" if pd.isna(value) else f"{percent * value:.{digits}f}")
        printed.add_row(str(line["trader"]), *cells)
    Console(width=None if Console().is_terminal else 170).print(printed)
    for one in gains:
        print(
            f"{one.row}: {one.points:+.2f} points of the optimum beside {one.base}, 95 % interval "
            f"{one.low:.2f} to {one.high:.2f} ({one.homes} homes x {one.weeks} weeks)"
        )


def _picture(lines: pd.DataFrame, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spans = [column for column in lines.columns if column[:2].isdigit()]
    figure = Figure(figsize=(9, 0.42 * len(lines) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = lines.iloc[::-1]
    places = range(len(shown))
    axes.barh(places, 100 * shown["share"], color="#2a7f62", height=0.62)
    for place, (_, line) in zip(places, shown.iterrows(), strict=True):
        values = [100 * line[span] for span in spans]
        axes.plot(values, [place] * len(values), "o", color="#1b1b1b", markersize=3)
        axes.annotate(
            f"{100 * line['share']:.1f}", (max(0.0, *values, 100 * line["share"]), place),
            xytext=(5, 0), textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(list(places), list(shown["trader"]), fontsize=8)
    axes.axvline(100, color="#888888", linewidth=0.8)
    axes.set_xlim(min(0.0, 100 * float(shown[[*spans, "share"]].to_numpy().min())), 108)
    axes.set_xlabel("share of the perfect-foresight community optimum, % (dots: each span of days)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=130)
