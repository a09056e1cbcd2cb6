"""One JSON line a cell, so that others can add rows of their own: ``docs/cell.schema.json``."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd

from simulations.benchmarks.strategies.households import ERRORS
from simulations.benchmarks.strategies.setup import SCHEMA, Cell, Setup
from simulations.benchmarks.strategies.statistics import means

_SPENT = ("bytes_up", "bytes_down", "messages", "dropped", "failed_rounds")
_GIVEN = (
    "epsilon", "epsilon_server", "share_of_optimum", "train_loss", "simulated_s", "staleness",
)  # fmt: skip


def cell_lines(rows: pd.DataFrame, cells: Iterable[Cell], setup: Setup) -> Iterator[str]:
    """The lines of ``cells``, sorted by dial, strategy and seed; ``rows`` hold them all.

    Errors are those of the last round: by household, and their mean over the honest ones, null
    where one of them has none. What is not known is null. Two runs of one grid write the same
    bytes.
    """
    plain = asdict(setup)
    for cell in sorted(cells, key=lambda c: (c.dial_name, c.entry.text, c.seed)):
        mine = (rows["dial"] == cell.dial_name) & (rows["strategy"] == cell.entry.text)
        own = rows[mine & (rows["seed"] == cell.seed)].sort_values(["round", "household"])
        last = own[own["round"] == own["round"].max()]
        honest = last[~last["malicious"]]
        spent = ["nrmse", "bytes_up", "bytes_down", "simulated_s"]
        curve = means(own[~own["malicious"]], "round", spent)
        line: dict[str, Any] = {
            "schema": SCHEMA,
            "strategy": cell.entry.name,
            "options": dict(cell.entry.options),
            "dial": cell.dial_name,
            "dial_values": cell.dial.model_dump(exclude_defaults=True),
            "seed": cell.seed,
            "setup": plain,
            "rounds": int(last["round"].iloc[0]),
            "rounds_run": int(last["rounds_run"].max()),
            "kept_round": float(last["kept_round"].mean()),
            "malicious": sorted(str(n) for n in last[last["malicious"]]["household"]),
            "errors": {name: _number(honest[name].mean(skipna=False)) for name in ERRORS},
            "nrmse_by_household": {
                str(name): _number(value)
                for name, value in zip(last["household"], last["nrmse"], strict=True)
            },
            **{name: int(last[name].iloc[0]) for name in _SPENT},
            **{name: _number(last[name].iloc[0]) for name in _GIVEN},
            "curve": [
                {
                    "round": int(str(round_)),
                    "nrmse": _number(one["nrmse"]),
                    "bytes": int(one["bytes_up"] + one["bytes_down"]),
                    "simulated_s": _number(one["simulated_s"]),
                }
                for round_, one in curve.iterrows()
            ],
        }
        yield json.dumps(line, sort_keys=True, allow_nan=False)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
