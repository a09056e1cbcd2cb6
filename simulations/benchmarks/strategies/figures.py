"""The benchmark's pictures as plotly specifications."""

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from simulations.benchmarks.strategies import statistics as stat
from simulations.benchmarks.strategies.dials import CLEAN
from simulations.benchmarks.strategies.setup import REFERENCES
from simulations.benchmarks.strategies.tables import AttackGrid
from simulations.report.page import figure, label

_DASHES = ("solid", "dash", "dot")


def _line(name: str, x: list[float], y: list[float], index: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(name),
        "x": x,
        "y": [round(v, 5) for v in y],
        "line": {"color": f"@{index % 7 + 1}", "dash": _DASHES[index // 7 % 3], "width": 2},
        "marker": {"size": 4},
    }


def error_by_round(rows: pd.DataFrame) -> Markup | str:
    """Mean error after each round in the clean community."""
    return _curves(rows, "round", "Error by round", "Round")


def error_by_bytes(rows: pd.DataFrame) -> Markup | str:
    """Mean error against all bytes sent, over all dials that change what is sent."""
    return _curves(rows, "bytes", "Error by bytes", "Bytes up and down, whole community [MB]")


def _curves(rows: pd.DataFrame, axis: str, title: str, axis_title: str) -> Markup | str:
    clean = rows[rows["dial"] == CLEAN]
    if clean.empty:
        return ""
    clean = clean.assign(bytes=(clean["bytes_up"] + clean["bytes_down"]) / 1e6)
    traces = []
    for i, name in enumerate(stat.strategies_of(rows, CLEAN)):
        if axis == "bytes" and name in REFERENCES:
            continue
        curve = stat.means(clean[clean["strategy"] == name], "round", ["nrmse", "bytes"])
        x = curve.index.tolist() if axis == "round" else [round(b, 4) for b in curve["bytes"]]
        traces.append(_line(name, x, curve["nrmse"].tolist(), i))
    layout = {
        "xaxis": {"title": {"text": axis_title}},
        "yaxis": {"title": {"text": "nRMSE"}},
        "legend": {"font": {"size": 10}},
    }
    caption = "Day-ahead consumption on held-out days; mean over homes and seeds, best end first."
    return figure(title, traces, layout, caption=caption, height=480)


def compression_curves(rows: pd.DataFrame, dials: list[str], strategy: str) -> Markup | str:
    """Error against bytes for one strategy under each compression."""
    traces = []
    for i, dial in enumerate([CLEAN, *dials]):
        own = rows[(rows["dial"] == dial) & (rows["strategy"] == strategy)]
        if own.empty:
            continue
        own = own.assign(bytes=(own["bytes_up"] + own["bytes_down"]) / 1e6)
        curve = stat.means(own[own["round"] > 0], "round", ["nrmse", "bytes"])
        traces.append(_line(dial, [round(b, 4) for b in curve["bytes"]], list(curve["nrmse"]), i))
    layout = {
        "xaxis": {"title": {"text": "Bytes up and down, whole community [MB]"}, "type": "log"},
        "yaxis": {"title": {"text": "nRMSE"}},
    }
    caption = f"{label(strategy)}: each line is one compression, each point a round."
    return figure("Error by bytes under compression", traces, layout, caption=caption, height=400)


def error_by_second(rows: pd.DataFrame, dial: str) -> Markup | str:
    """Mean error against the simulated clock under one dial."""
    traces = []
    for i, name in enumerate(n for n in stat.strategies_of(rows, dial) if n not in REFERENCES):
        own = rows[(rows["dial"] == dial) & (rows["strategy"] == name)]
        curve = stat.means(own, "round", ["nrmse", "simulated_s"])
        seconds = [round(s, 3) for s in curve["simulated_s"]]
        traces.append(_line(name, seconds, curve["nrmse"].tolist(), i))
    layout = {
        "xaxis": {"title": {"text": "Simulated time [s]"}},
        "yaxis": {"title": {"text": "nRMSE"}},
    }
    caption = f"{label(dial)}: each point is a round; mean over homes and seeds, best end first."
    return figure(f"Error by second, {label(dial)}", traces, layout, caption=caption, height=400)


def fairness(rows: pd.DataFrame) -> Markup | str:
    """Spread of the error over homes, by strategy."""
    if rows[rows["dial"] == CLEAN].empty:
        return ""
    found = stat.fairness(rows, CLEAN).sort_values("p90", ascending=False)
    names = [label(str(n)) for n in found["strategy"]]
    traces: list[dict[str, Any]] = []
    for column, name, colour, symbol in (
        ("p10", "10th percentile", "@3", "circle-open"),
        ("median", "median", "@1", "circle"),
        ("p90", "90th percentile", "@2", "diamond"),
        ("worst", "worst home", "@4", "x"),
    ):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "y": names,
                "x": [round(float(v), 4) for v in found[column]],
                "marker": {"color": colour, "symbol": symbol, "size": 9},
            }
        )
    layout = {
        "xaxis": {"title": {"text": "nRMSE of a home, mean over seeds"}},
        "yaxis": {"automargin": True},
    }
    caption = "Each row a strategy; how good it is for the best, the middle and the worst homes."
    return figure(
        "Fairness over homes", traces, layout, caption=caption, height=120 + 26 * len(names)
    )


def attack_grid(grid: AttackGrid) -> Markup:
    """Heat map of the honest homes' error under attack."""
    shown = np.clip(100 * grid.change, -20, 50)
    texts = [["" if np.isnan(v) else f"{100 * v:+.1f} %" for v in row] for row in grid.change]
    trace = {
        "type": "heatmap",
        "x": [label(a) for a in grid.attacks],
        "y": [label(s) for s in grid.strategies],
        "z": [[None if np.isnan(v) else round(float(v), 2) for v in row] for row in shown],
        "text": texts,
        "texttemplate": "%{text}",
        "zmin": -20,
        "zmax": 50,
        "zmid": 0,
        "colorscale": [[0, "#2c7bb6"], [0.2857, "#f7f7f7"], [1, "#d7191c"]],
        "textfont": {"color": "#111111"},
        "colorbar": {"title": {"text": "%"}},
    }
    return figure(
        "Attack and defence",
        [trace],
        {"yaxis": {"automargin": True}, "xaxis": {"automargin": True}},
        caption="Change of the honest homes' error against FedAvg without attack; colours end at "
        "+50 %.",
        height=140 + 34 * len(grid.strategies),
    )
