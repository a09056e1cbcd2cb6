"""Tables and the picture of the market benchmark."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fl_server.market import MECHANISMS
from simulations.benchmarks.market.manipulation import Lies
from simulations.benchmarks.market.quality import Quality
from simulations.benchmarks.market.speed import ACCOUNTS, LOOP, Speed

Quantity = dict[int, dict[str, Quality]]
CENT = 100


def speed_table(speed: Speed) -> list[str]:
    """Milliseconds of processor time by number of orders, and the fitted exponent."""
    head = ["clearing [ms of one core]", *(f"{n:,}" for n in speed.sizes), "exponent"]
    rows = []
    for name, times in speed.milliseconds.items():
        exponent = speed.exponent(name)
        cells = ["-" if ms is None else f"{ms:.3g}" if ms < 100 else f"{ms:.0f}" for ms in times]
        rows.append([name, *cells, "-" if exponent is None else f"{exponent:.2f}"])
    return _aligned(head, rows)


def quality_table(table: dict[str, Quality]) -> list[str]:
    """Welfare, price, volume and fairness on the same books."""
    head = ["mechanism", "welfare", "volume", "price", "kept", "Jain", "Gini"]
    rows = [
        [
            name,
            f"{q.welfare:.1%}",
            f"{q.volume:.1%}",
            f"{q.price:.4f}",
            f"{q.gain:.1%}",
            f"{q.jain:.3f}",
            f"{q.gini:.3f}",
        ]
        for name, q in table.items()
    ]
    return _aligned(head, rows)


def lies_table(lies: dict[str, list[Lies]], sizes: Sequence[int]) -> list[str]:
    """Best misreport found and the mean of each household's best, in cents per kWh ordered."""
    head = ["best lie (mean) [cent/kWh]", *(f"{n:,} orders" for n in sizes)]
    rows = [
        [name, *(f"{one.best * CENT:.2f} ({one.mean * CENT:.3f})" for one in found)]
        for name, found in lies.items()
    ]
    return _aligned(head, rows)


def _aligned(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    return [
        row[0].ljust(widths[0])
        + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in [head, *rows]
    ]


def write(
    out: Path,
    facts: dict[str, Any],
    speed: Speed,
    quality: Quantity,
    lies: dict[str, list[Lies]],
    lie_sizes: Sequence[int],
) -> None:
    """Write results.json, speed.csv, mechanisms.csv and picture.png into the folder."""
    out.mkdir(parents=True, exist_ok=True)
    results = {
        **facts,
        "speed_ms": {
            "orders": list(speed.sizes),
            **speed.milliseconds,
        },
        "elapsed_ms": speed.elapsed,
        "exponent": {name: speed.exponent(name) for name in speed.milliseconds},
        "mechanisms": {
            str(orders): {name: asdict(q) for name, q in table.items()}
            for orders, table in quality.items()
        },
        "misreports": {
            "orders": list(lie_sizes),
            **{name: [asdict(one) for one in found] for name, found in lies.items()},
        },
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    with (out / "speed.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *speed.sizes])
        writer.writerows([name, *times] for name, times in speed.milliseconds.items())
    with (out / "mechanisms.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["orders", "mechanism", *Quality.__dataclass_fields__])
        for orders, table in quality.items():
            writer.writerows([orders, name, *asdict(q).values()] for name, q in table.items())
    picture(out / "picture.png", speed, quality, lies, lie_sizes)


def picture(
    path: Path,
    speed: Speed,
    quality: Quantity,
    lies: dict[str, list[Lies]],
    lie_sizes: Sequence[int],
) -> None:
    """Four panels: speed, welfare and what households keep, fairness, the best lie."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9.5), layout="constrained")
    FigureCanvasAgg(figure)
    ((times, welfare), (fairness, lying)) = figure.subplots(2, 2)
    names = list(MECHANISMS)
    color = dict(zip(names, colormaps["tab10"].colors, strict=False))  # type: ignore[attr-defined]

    for name, values in speed.milliseconds.items():
        if name == ACCOUNTS:
            continue
        points = [(n, ms) for n, ms in zip(speed.sizes, values, strict=True) if ms is not None]
        ours = name in color
        times.plot(
            *zip(*points, strict=True),
            color=color.get(name, "black" if name == LOOP else "grey"),
            linestyle="-" if ours else "--",
            marker="o",
            markersize=3,
            label=name,
        )
    times.set(
        xscale="log",
        yscale="log",
        xlabel="orders",
        ylabel="ms of one core",
        title="Time of one clearing",
    )
    times.grid(alpha=0.3)
    times.legend(fontsize=8)

    orders, table = max(quality.items())
    height = 0.38
    for ax, parts, title in (
        (
            welfare,
            (("welfare", "welfare made"), ("gain", "kept by households")),
            f"Share of the optimal welfare, {orders} orders",
        ),
        (
            fairness,
            (("jain", "Jain index (1: all gain alike)"), ("gini", "Gini (0: all gain alike)")),
            f"How gains are spread, {orders} orders",
        ),
    ):
        for shift, (field, label) in zip((-height / 2, height / 2), parts, strict=True):
            values = [getattr(table[name], field) for name in names]
            bars = ax.barh([at + shift for at in range(len(names))], values, height, label=label)
            ax.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=8, padding=2)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.set_xlim(0, 1.12)
        ax.set_title(title)
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)

    for name, found in lies.items():
        lying.plot(
            lie_sizes,
            [one.mean * CENT for one in found],
            color=color[name],
            linestyle="--" if name == "hierarchical" else "-",  # on one feeder it is uniform
            marker="o",
            label=name,
        )
    lying.set(
        xscale="log",
        xlabel="orders in the book",
        ylabel="cent per kWh",
        title="What the best lie about its price earns a household, mean",
    )
    lying.grid(alpha=0.3)
    lying.legend(fontsize=8)
    figure.savefig(path, dpi=110)
