"""Tables, files and the picture of a forecast benchmark."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from simulations.benchmarks.forecasts.run import Scored
from simulations.benchmarks.forecasts.scores import paired_interval, summarise

TITLES = {
    "last_day": "last day",
    "weekly_naive": "last week",
    "mean_7_days": "mean of 7 days",
    "ridge": "ridge, pooled",
    "lightgbm": "LightGBM, pooled",
    "local_only": "local only",
    "centralised": "centralised",
    "federated": "federated",
    "fine_tuned": "federated + fine-tuning",
    "personal_layers": "federated, personal layers",
    "unseen": "federated, homes unseen",
}


def summary(results: Sequence[Scored], facts: dict[str, Any]) -> dict[str, Any]:
    """Rows by stream with mean and spread over seeds, and the comparisons that matter."""
    table: dict[str, dict[str, Any]] = {}
    for row in dict.fromkeys(scored.row for scored in results):
        runs = [scored for scored in results if scored.row == row]
        streams: dict[str, Any] = {}
        for stream in runs[0].homes:
            values = [
                summarise(one.homes[stream])
                | ({"community": one.community[stream]} if stream in one.community else {})
                for one in runs
            ]
            streams[stream] = {
                key: {
                    "mean": float(np.mean([v[key] for v in values])),
                    "spread": float(np.std([v[key] for v in values])),
                }
                for key in values[0]
            }
        cost = {key: float(np.mean([one.cost[key] for one in runs])) for key in runs[0].cost}
        table[row] = {"seeds": len(runs), "streams": streams, "cost": cost}
    return {**facts, "rows": table, "comparisons": comparisons(results)}


def comparisons(results: Sequence[Scored], stream: str = "consumption_day") -> dict[str, Any]:
    """Paired differences of nRMSE over homes, each home's mean over the seeds."""
    found = {scored.row for scored in results}

    def mean(row: str, names: Sequence[str] | None = None) -> np.ndarray[Any, Any]:
        runs = [one for one in results if one.row == row]
        values = np.mean([one.homes[stream]["nrmse"] for one in runs], axis=0)
        if names is None:
            return np.asarray(values)
        return np.asarray(values)[[runs[0].names.index(name) for name in names]]

    made: dict[str, Any] = {}
    for ours, theirs in (
        ("federated", "local_only"),
        ("federated", "centralised"),
        ("federated", "mean_7_days"),
        ("federated", "lightgbm"),
        ("fine_tuned", "federated"),
        ("personal_layers", "federated"),
        ("fine_tuned", "local_only"),
    ):
        if {ours, theirs} <= found:
            pair = paired_interval(mean(ours), mean(theirs), 0)
            pair["relative"] = float(np.nanmean(mean(ours)) / np.nanmean(mean(theirs)) - 1.0)
            made[f"{ours} - {theirs}"] = pair
    if {"unseen", "federated"} <= found:
        names = next(one.names for one in results if one.row == "unseen")
        pair = paired_interval(mean("unseen"), mean("federated", names), 0)
        pair["relative"] = float(
            np.nanmean(mean("unseen")) / np.nanmean(mean("federated", names)) - 1.0
        )
        made["unseen - federated, the same homes"] = pair
    return made


def table(made: dict[str, Any], stream: str) -> list[str]:
    """Return one stream's rows as lines of text."""
    head = f"{'':28}{'nRMSE':>8}{'±':>7}{'MASE':>8}{'bias':>8}{'commun.':>9}{'p90':>7}"
    lines = [stream, head + f"{'pinball':>9}{'cov80':>7}{'CPU s':>7}{'MB':>8}"]
    for row, entry in made["rows"].items():
        scores = entry["streams"].get(stream)
        if scores is None:
            continue

        def show(key: str, width: int, digits: int = 3, part: str = "mean") -> str:
            value = scores.get(key)  # noqa: B023
            return f"{value[part]:{width}.{digits}f}" if value else " " * width

        cost = entry["cost"]
        lines.append(
            f"{TITLES[row]:28}{show('nrmse', 8, 4)}{show('nrmse', 7, 4, 'spread')}"
            f"{show('mase', 8, 4)}{show('bias', 8)}{show('community', 9, 4)}"
            f"{show('nrmse_p90', 7)}{show('pinball', 9, 4)}{show('coverage_80', 7, 2)}"
            f"{cost.get('cpu_seconds', cost.get('seconds', 0.0)):7.0f}"
            f"{cost.get('bytes_sent', 0.0) / 1e6:8.1f}"
        )
    return lines


def write(made: dict[str, Any], results: Sequence[Scored], out: Path) -> None:
    """Write results.json, homes.csv, picture.png and the first seed's federated model."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(made, indent=1) + "\n")
    with (out / "homes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "seed", "stream", "home", "metric", "value"])
        for one in results:
            for stream, scores in one.homes.items():
                for metric, values in scores.items():
                    for name, value in zip(one.names, values, strict=True):
                        writer.writerow([one.row, one.seed, stream, name, metric, f"{value:.6g}"])
    for one in results:
        if one.row == "federated" and one.weights is not None:
            save_file(one.weights, out / "model.safetensors")
            break
    _picture(made, results, out / "picture.png")


def _picture(made: dict[str, Any], results: Sequence[Scored], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stream = "consumption_day"
    # Unseen homes are a part of the homes: their mean has no place beside the others'.
    rows = [r for r, entry in made["rows"].items() if stream in entry["streams"] and r != "unseen"]
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    bars, homes = figure.subplots(1, 2, width_ratios=(1.15, 1))
    values = [made["rows"][row]["streams"][stream]["nrmse"] for row in rows]
    ours = {"federated", "fine_tuned", "personal_layers"}
    colours = ["#1f6f8b" if row in ours else "#b8c4cc" for row in rows]
    places = np.arange(len(rows))[::-1]
    means = [v["mean"] for v in values]
    bars.barh(places, means, xerr=[v["spread"] for v in values], color=colours)
    for place, mean in zip(places, means, strict=True):
        bars.text(mean + 0.004, place, f"{mean:.3f}", va="center", fontsize=9)
    bars.set_yticks(places, [TITLES[row] for row in rows])
    bars.set_xlim(min(means) * 0.9, max(means) * 1.05)
    bars.set_xlabel("nRMSE, mean over homes (the axis does not begin at 0)")
    bars.set_title("Day ahead from midnight", loc="left")
    found = {one.row: one for one in results if one.seed == 0}
    if {"federated", "local_only"} <= set(found):
        x = found["local_only"].homes[stream]["nrmse"]
        y = found["federated"].homes[stream]["nrmse"]
        edge = [float(np.nanmin([x, y])) * 0.95, float(np.nanmax([x, y])) * 1.05]
        homes.plot(edge, edge, color="#999999", linewidth=1)
        homes.scatter(x, y, s=22, color="#1f6f8b", alpha=0.8)
        homes.set_xlabel("nRMSE of a home that trains alone")
        homes.set_ylabel("nRMSE of the same home in the federation")
        homes.set_title("Below the line the federation helps", loc="left")
    else:
        homes.set_axis_off()
    for axes in (bars, homes):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
