"""The grid of cells: run in parallel, resumed where it stopped, gathered into one table.

Each cell is written whole, under a name of its own and with a hash of all it depends on. A
benchmark that was killed runs what is missing; a changed setting runs anew what it changes.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import InputError
from common.files import open_folder, whole, write_whole
from simulations.benchmarks.strategies import presets
from simulations.benchmarks.strategies.cell import Cost, Row, run_cell
from simulations.benchmarks.strategies.dials import CLEAN, Dial, read_dials
from simulations.benchmarks.strategies.lines import cell_lines
from simulations.benchmarks.strategies.setup import (
    REFERENCES,
    Cell,
    Entry,
    Setup,
    entry_of,
    split_entries,
)
from simulations.engine.local_ray import import_ray
from simulations.progress import track

ROWS = "rows.parquet"
COSTS = "costs.parquet"
LINES = "cells.jsonl"
GRID = "grid.json"
_HASH = b"fedwatt-cell"


def plan(
    parts: str | None, strategies: str | None, dials: Path | None
) -> list[tuple[list[Entry], dict[str, Dial]]]:
    """What is run with what: strategies and dials of each of ``parts`` ("quick", or names of
    ``presets.PARTS`` with commas; None: all), or of one part of the user's own where ``dials`` are
    given.

    ``strategies`` replaces those of the parts. Raises InputError for what is not known.
    """
    if dials is not None:
        if parts is not None:
            raise InputError("--parts: --dials names the one part there is")
        return [(split_entries(strategies or presets.STRATEGIES), read_dials(dials))]
    if parts == "quick":
        chosen = [(presets.QUICK_STRATEGIES, presets.QUICK_DIALS)]
    else:
        chosen = []
        asked = list(presets.PARTS) if parts is None else parts.split(",")
        for part in filter(None, (part.strip() for part in asked)):
            if part not in presets.PARTS:
                raise InputError(f"--parts {part!r}: known are {', '.join(presets.PARTS)}")
            chosen.append(presets.PARTS[part])
        if not chosen:
            raise InputError(f"--parts {parts!r}: known are {', '.join(presets.PARTS)}")
    return [(split_entries(strategies or named), read_dials(values)) for named, values in chosen]


def cells_of(entries: Sequence[Entry], dials: dict[str, Dial], seeds: int) -> list[Cell]:
    """Every cell of the grid, references first, cells that share homes next to each other.

    A reference depends on the data alone, so it is run once for all dials with the same data.
    """
    cells = []
    for seed in range(seeds):
        for name, dial in sorted(dials.items(), key=lambda item: (_data_key(item[1]), item[0])):
            if _home_of(name, dials) == name:
                cells += [Cell(entry_of(r), name, dial.data_only(), seed) for r in REFERENCES]
            cells += [Cell(e, name, dial, seed) for e in entries if not e.reference]
    return cells


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without repetition, by seed first, in the order of their homes."""
    found = {cell.key: cell for cell in cells}
    return sorted(found.values(), key=lambda c: (c.seed, _data_key(c.dial), c.dial_name))


def _data_key(dial: Dial) -> str:
    return dial.data_only().model_dump_json()


def _home_of(name: str, dials: dict[str, Dial]) -> str:
    """The first dial with the same data: there the references are run."""
    same = [n for n, d in dials.items() if _data_key(d) == _data_key(dials[name])]
    return CLEAN if CLEAN in same else min(same)


def run_grid(cells: Sequence[Cell], setup: Setup, out: Path, workers: int) -> int:
    """Run the cells that are missing in ``out``; returns how many were run.

    ``workers`` above 1: that many Ray processes. Raises InputError as ``run_cell`` does; what was
    finished before stays.
    """
    folder = out / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells if not _finished(folder, cell, setup)]
    done = len(cells) - len(missing)
    if done:
        print(f"{done} of {len(cells)} cells are finished already")
    results = _parallel(missing, setup, workers) if workers > 1 else _serial(missing, setup)
    for cell, rows, cost in track(results, "cells", len(missing)):
        _write(folder, cell, setup, rows, cost)
        if cost["failure"]:
            print(f"cell {cell.key}: no round made a model: {cost['failure']}")
    return len(missing)


def _serial(cells: Iterable[Cell], setup: Setup) -> Iterable[tuple[Cell, list[Row], Any]]:
    for cell in cells:
        yield (cell, *run_cell(cell, setup))


def _parallel(
    cells: Sequence[Cell], setup: Setup, workers: int
) -> Iterable[tuple[Cell, list[Row], Any]]:
    if not cells:
        return
    import logging

    root = str(Path(__file__).resolve().parents[2])
    ray = import_ray()
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": _path(root)}},
    )
    try:
        task = ray.remote(max_retries=1)(run_cell)
        waiting: dict[Any, Cell] = {}
        queue = iter(cells)
        # A short queue ahead of the workers keeps cells that share homes together.
        for cell in [c for _, c in zip(range(2 * workers), queue, strict=False)]:
            waiting[task.remote(cell, setup)] = cell
        while waiting:
            [ready], _ = ray.wait(list(waiting), num_returns=1)
            cell = waiting.pop(ready)
            following = next(queue, None)
            if following is not None:
                waiting[task.remote(following, setup)] = following
            try:
                rows, cost = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, InputError):
                    raise error.cause from None
                raise RuntimeError(f"cell {cell.key}: {error.cause}") from error
            yield cell, rows, cost
    finally:
        ray.shutdown()


def _path(root: str) -> str:
    known = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(part for part in (root, known) if part)


def _file(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.key}.parquet"


def _finished(folder: Path, cell: Cell, setup: Setup) -> bool:
    path = _file(folder, cell)
    if not path.exists():
        return False
    try:
        meta = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    kept: bytes = meta.get(_HASH, b"")
    return kept.decode() == cell.digest(setup)


def _write(folder: Path, cell: Cell, setup: Setup, rows: list[Row], cost: Cost) -> None:
    path = _file(folder, cell)
    table = pa.Table.from_pylist(rows)
    meta = {_HASH: cell.digest(setup).encode(), b"cost": json.dumps(cost).encode()}
    with whole(path, durable=False) as part:
        pq.write_table(table.replace_schema_metadata(meta), part)


def read_cell(cell: Cell, out: Path) -> tuple[pd.DataFrame, Cost]:
    """Rows of a finished cell, and what it cost to run."""
    table = pq.read_table(_file(out / "cells", cell))
    cost: Cost = json.loads(table.schema.metadata[b"cost"])
    return table.replace_schema_metadata({}).to_pandas(), cost


def gather(
    cells: Sequence[Cell], dials: dict[str, Dial], setup: Setup, out: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the finished cells into ``rows.parquet`` and ``costs.parquet`` and return both.

    ``cells.jsonl`` says the same by cell.

    Rows are a function of the grid alone: two runs of it write the same bytes. What differs from
    run to run (seconds, memory) is in the costs. Each dial gets the references of its data.
    """
    tables, costs = [], []
    for cell in sorted(cells, key=lambda c: (c.dial_name, c.entry.text, c.seed)):
        frame, cost = read_cell(cell, out)
        told = {"strategy": cell.entry.text, "dial": cell.dial_name, "seed": cell.seed}
        costs.append({**told, **cost})
        tables.append(frame)
        if cell.entry.reference:
            same = [name for name in dials if _home_of(name, dials) == cell.dial_name]
            tables += [frame.assign(dial=name) for name in same if name != cell.dial_name]
    rows = pd.concat(tables, ignore_index=True)
    order = ["dial", "strategy", "seed", "round", "household"]
    rows = rows.sort_values(order, ignore_index=True)
    rows.to_parquet(out / ROWS, index=False)
    lines = "".join(f"{line}\n" for line in cell_lines(rows, cells, setup))
    write_whole(out / LINES, lines, durable=False)
    spent = pd.DataFrame(costs)
    spent.to_parquet(out / COSTS, index=False)
    return rows, spent


def open_grid(out: Path, setup: Setup, entries: Sequence[Entry], dials: dict[str, Dial]) -> None:
    """Begin or continue a benchmark in ``out``; raises InputError where it holds another one's."""
    file = out / GRID
    plain: dict[str, Any] = {
        "setup": asdict(setup),
        "strategies": [entry.text for entry in entries],
        "dials": {name: dial.model_dump(exclude_defaults=True) for name, dial in dials.items()},
    }
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["setup"] != plain["setup"]:
            wrong = [k for k, v in plain["setup"].items() if kept["setup"].get(k) != v]
            raise InputError(f"{out} holds a benchmark with another {wrong[0]}: choose a new --out")
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out}: already holds something else: choose a new folder")
    open_folder(out)
    write_whole(file, json.dumps(plain, indent=1) + "\n", durable=False)
