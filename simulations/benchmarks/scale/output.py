"""Table, JSON and picture of a scale benchmark."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from simulations.benchmarks.scale.parts import DECISIONS, PARTS
from simulations.benchmarks.scale.run import Measured, as_json, growth

if TYPE_CHECKING:
    from simulations.benchmarks.scale.steps import StepTime

RESULTS, PICTURE, STEPS = "results.json", "picture.png", "steps.json"
GROWTH_FROM = 100
_SHOWN = (*PARTS, "engine", "start-up")


def exponents(rows: Sequence[Measured]) -> dict[str, float | None]:
    """Growth exponent of market rounds by engine, from 100 households on."""
    return {
        engine: growth([row for row in rows if row.engine == engine], GROWTH_FROM)
        for engine in dict.fromkeys(row.engine for row in rows)
    }


def write(out: Path, rows: Sequence[Measured], facts: dict[str, object]) -> None:
    """Write results.json and picture.png into ``out``."""
    found = {**facts, "growth_exponent": exponents(rows), "runs": as_json(rows)}
    (out / RESULTS).write_text(json.dumps(found, indent=1) + "\n")
    _picture(rows, out / PICTURE)


def show(rows: Sequence[Measured]) -> None:
    """Print what was measured, a line a run, then CPU seconds by part."""
    table = Table(title="time and memory")
    for title in (
        "engine", "households", "wall s", "rounds/s", "round ms", "95 %", "model round s",
        "outside training s", "peak MB", "server MB", "CPU s",
    ):  # fmt: skip
        table.add_column(title, justify="left" if title == "engine" else "right")
    for row in rows:
        table.add_row(
            row.engine,
            str(row.households),
            f"{sum(row.wall_s.values()):.1f}",
            f"{row.intervals_per_s:.2f}",
            f"{row.round_ms[0]:.1f}",
            f"{row.round_ms[1]:.1f}",
            "" if row.model_round_s is None else f"{row.model_round_s:.2f}",
            "" if row.outside_training_s is None else f"{row.outside_training_s:.2f}",
            f"{row.peak_mb:.0f}",
            f"{row.server_mb:.0f}",
            f"{row.cpu_total_s:.1f}",
        )
    parts = Table(title="CPU seconds by part")
    parts.add_column("engine")
    parts.add_column("households", justify="right")
    for name in (*_SHOWN, "engine share"):
        parts.add_column(name, justify="right")
    for row in rows:
        if row.cpu is not None:
            share = row.engine_share
            parts.add_row(
                row.engine,
                str(row.households),
                *(f"{row.cpu[name]:.1f}" for name in _SHOWN),
                "" if share is None else f"{share:.1%}",
            )
    decisions = Table(title="CPU time of decisions, ms per household and interval")
    decisions.add_column("engine")
    for name in ("households", *DECISIONS):
        decisions.add_column(name, justify="right")
    for row in rows:
        if row.decision_ms is not None:
            shown = (f"{row.decision_ms[name]:.3f}" for name in DECISIONS)
            decisions.add_row(row.engine, str(row.households), *shown)
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table, parts, decisions)
    for engine, exponent in exponents(rows).items():
        if exponent is not None:
            console.print(f"{engine}: round time grows with households^{exponent:.2f}")


def write_steps(out: Path, rows: "Sequence[StepTime]") -> None:
    """Write steps.json into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    found = [
        {
            **asdict(row),
            "floor_s": row.floor_s,
            "over_floor": row.over_floor,
            "over_products": row.over_products,
        }
        for row in rows
    ]
    (out / STEPS).write_text(json.dumps(found, indent=1) + "\n")


def show_steps(rows: "Sequence[StepTime]") -> None:
    """Print a line a preset."""
    table = Table(title="a training step against its matrix products, one thread")
    for title in (
        "preset", "device", "step ms", "of it batch ms", "GFLOP", "GFLOP/s", "floor ms",
        "over floor", "own products ms", "over them",
    ):  # fmt: skip
        table.add_column(title, justify="left" if title in ("preset", "device") else "right")
    for row in rows:
        table.add_row(
            row.preset,
            row.device,
            f"{row.step_s * 1e3:.2f}",
            f"{row.batch_s * 1e3:.2f}",
            f"{row.flop / 1e9:.3f}",
            f"{row.flop_per_s / 1e9:.0f}",
            f"{row.floor_s * 1e3:.2f}",
            f"{row.over_floor:.2f}",
            f"{row.products_s * 1e3:.2f}",
            f"{row.over_products:.2f}",
        )
    Console(width=None if Console().is_terminal else 140).print(table)


def _picture(rows: Sequence[Measured], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    times, parts = figure.subplots(1, 2)
    for engine in dict.fromkeys(row.engine for row in rows):
        mine = [row for row in rows if row.engine == engine]
        n = [row.households for row in mine]
        times.loglog(n, [row.round_ms[0] for row in mine], "o-", label=engine)
    times.set(xlabel="households", ylabel="market round [ms]", title="Time of a market round")
    times.grid(visible=True, which="major", alpha=0.3)
    times.legend()
    shown = [row for row in rows if row.cpu is not None]
    names = [f"{row.engine}\n{row.households}" for row in shown]
    below = [0.0] * len(shown)
    for name in (*PARTS, "engine"):
        per = [1e6 * (row.cpu or {})[name] / row.households / row.intervals for row in shown]
        if any(per):
            parts.bar(names, per, bottom=below, label=name)
            below = [a + b for a, b in zip(below, per, strict=True)]
    parts.set(ylabel="CPU per household and interval [µs]", title="Where the time goes")
    parts.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=130)
