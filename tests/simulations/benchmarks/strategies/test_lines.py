"""Lines of cells: what the schema describes, and what the rows hold."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from simulations.benchmarks.strategies.dials import Dial
from simulations.benchmarks.strategies.lines import cell_lines
from simulations.benchmarks.strategies.setup import Cell, Setup, entry_of

SCHEMA = json.loads((Path(__file__).parents[4] / "docs" / "cell.schema.json").read_text())
SETUP = Setup("synthetic", households=3, rounds=2)
CELLS = [
    Cell(entry_of("mine:Own(share=0.5,fast=true)"), "bad", Dial(attack="nan", attackers=0.3), 1),
    Cell(entry_of("fedavg"), "bad", Dial(attack="nan", attackers=0.3), 0),
]


def rows() -> pd.DataFrame:
    """Home H's error is H + 1, ten times that before the first round; H2 is malicious."""
    return pd.DataFrame(
        [
            {
                "strategy": cell.entry.text, "dial": "bad", "seed": cell.seed,
                "household": f"H{h}", "round": round_, "malicious": h == 2,
                **dict.fromkeys(("rmse", "mae", "mase", "bias", "hour_bias"), 0.5),
                "nrmse": (h + 1.0) * (1 if round_ else 10),
                "kept_round": h if round_ else 0, "rounds_run": round_,
                "train_loss": np.nan, "bytes_up": 100 * round_, "bytes_down": 50 + 10 * round_,
                "messages": 6, "dropped": 1, "failed_rounds": 1,
                "epsilon": np.inf, "epsilon_server": np.nan,
                "share_of_optimum": np.nan, "simulated_s": 3.0 * round_, "staleness": np.nan,
            }
            for cell in CELLS
            for round_ in (0, 2)
            for h in range(3)
        ]
    )  # fmt: skip


def test_lines_hold_to_the_schema_and_to_the_rows() -> None:
    """The mean error is that of the two honest homes, (1 + 2) / 2; NaN and infinity are null."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    lines = [json.loads(line) for line in cell_lines(rows(), CELLS, SETUP)]
    for line in lines:
        jsonschema.validate(line, SCHEMA)
    assert [line["strategy"] for line in lines] == ["fedavg", "mine:Own"]
    assert lines[1]["options"] == {"share": 0.5, "fast": True}
    first = lines[0]
    assert first["errors"]["nrmse"] == 1.5
    assert first["failed_rounds"] == 1
    assert (first["rounds"], first["rounds_run"], first["kept_round"]) == (2, 2, 1.0)
    assert first["nrmse_by_household"] == {"H0": 1.0, "H1": 2.0, "H2": 3.0}
    assert first["malicious"] == ["H2"]
    assert first["dial_values"] == {"attack": "nan", "attackers": 0.3}
    assert (first["epsilon"], first["share_of_optimum"]) == (None, None)
    assert first["curve"] == [
        {"round": 0, "nrmse": 15.0, "bytes": 50, "simulated_s": 0.0},
        {"round": 2, "nrmse": 1.5, "bytes": 270, "simulated_s": 6.0},
    ]
    assert list(cell_lines(rows(), CELLS[::-1], SETUP)) == list(cell_lines(rows(), CELLS, SETUP))


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_the_mean_of_a_line_hides_no_home_that_diverged(lost: float) -> None:
    """H1 is honest and has no error after round 2: neither have the means there."""
    table = rows()
    table.loc[(table["household"] == "H1") & (table["round"] == 2), "nrmse"] = lost
    line = json.loads(next(cell_lines(table, CELLS, SETUP)))
    jsonschema.validate(line, SCHEMA)
    assert line["errors"]["nrmse"] is None
    assert line["nrmse_by_household"]["H1"] is None
    assert [one["nrmse"] for one in line["curve"]] == [15.0, None]


@pytest.mark.parametrize("change", [{"seed": -1}, {"errors": {}}, {"extra": 1}, {"schema": 1}])
def test_the_schema_refuses_other_lines(change: dict[str, object]) -> None:
    """A seed below 0, an error that is missing, an unknown key, another schema."""
    line = json.loads(next(cell_lines(rows(), CELLS, SETUP)))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**line, **change}, SCHEMA)
