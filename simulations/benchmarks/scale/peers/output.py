"""Table and JSON of a comparison with other frameworks."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from simulations.benchmarks.scale.peers.compare import AFTER_ONE, AT_THE_END, Compared, as_json
from simulations.benchmarks.scale.peers.ways import WAYS

RESULTS = "peers.json"


def write(out: Path, rows: Sequence[Compared], facts: dict[str, object]) -> None:
    """Write peers.json into ``out``."""
    found = {**facts, "tolerance": [AFTER_ONE, AT_THE_END], "ways": as_json(rows)}
    (out / RESULTS).write_text(json.dumps(found, indent=1) + "\n")


def show(rows: Sequence[Compared]) -> None:
    """Print a line a way and number of clients, and why a way was left out."""
    table = Table(title="the same federated rounds, over the plain loop's training alone")
    for title in (
        "way", "clients", "cores", "start s", "first round s", "round s", "core s over floor",
        "CPU s", "CPU over floor", "apart after one", "at the end",
    ):  # fmt: skip
        table.add_column(title, justify="left" if title == "way" else "right")
    for row in rows:
        title = WAYS[row.way].title
        if row.skipped is not None:
            table.add_row(f"{title}: {row.skipped}", str(row.clients))
            continue
        table.add_row(
            title,
            str(row.clients),
            str(row.cores),
            _number(row.start_s, ".1f"),
            _number(None if row.first is None else row.first.seconds, ".2f"),
            _number(row.round_s, ".3f"),
            _number(row.over_floor, ".2f"),
            _number(row.cpu_s, ".3f"),
            _number(row.cpu_over_floor, ".2f"),
            _number(row.first_distance, ".1e"),
            _number(row.distance, ".1e"),
        )
    Console(width=None if Console().is_terminal else 160).print(table)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
