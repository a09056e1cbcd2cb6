"""A small grid from end to end: identical rows, resuming, references, a strategy of one's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.errors import InputError
from fl_server.strategy import known_strategies
from simulations.benchmarks.strategies import checks, grid, report
from simulations.benchmarks.strategies.collusion import COLLUDING
from simulations.benchmarks.strategies.command import app
from simulations.benchmarks.strategies.dials import Dial, read_dials
from simulations.benchmarks.strategies.setup import (
    REFERENCES,
    Cell,
    Entry,
    Setup,
    check,
    entry_of,
    options_of,
    split_entries,
)

SETUP = Setup("synthetic", households=4, rounds=2, local_steps=1, batch_size=4, train_days=10,
              test_days=2)  # fmt: skip
MINE = "tests.simulations.benchmarks.strategies.mine:NormBounded"
DIALS: dict[str, object] = {
    "clean": {},
    "nan": {"attack": "nan", "attackers": 0.25},
    "int8": {"compression": "int8", "compression_down": "int8", "dropouts": 0.3},
    "dp": {"privacy_clip": 0.1},
}


def run(out: Path, text: str, dials: dict[str, Dial]) -> pd.DataFrame:
    cells = grid.unique(grid.cells_of(split_entries(text), dials, 1))
    grid.open_grid(out, SETUP, split_entries(text), dials)
    grid.run_grid(cells, SETUP, out, workers=1)
    rows, costs = grid.gather(cells, dials, SETUP, out)
    report.write(rows, costs, SETUP, dials, out)
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("benchmark") / "a"
    return out, run(out, f"fedavg,ditto(ditto_steps=1),{MINE}", read_dials(DIALS))


def test_two_runs_of_one_seed_write_identical_bytes(
    finished: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    """Attack, dropouts, compression and seeded noise included."""
    dials = read_dials({name: DIALS[name] for name in ("int8", "dp")})
    first, second = tmp_path / "a", tmp_path / "b"
    run(first, "fedavg", dials)
    run(second, "fedavg", dials)
    assert (first / grid.ROWS).read_bytes() == (second / grid.ROWS).read_bytes()
    # And they are the rows of the larger grid, so no cell depends on what ran before it.
    keys = ["strategy", "dial", "seed", "round", "household"]
    whole = finished[1]
    whole = whole[(whole["strategy"] == "fedavg") & whole["dial"].isin(["int8", "dp"])]
    mine = pd.read_parquet(first / grid.ROWS)
    mine = mine[mine["strategy"] == "fedavg"]
    # Pandas 2 keeps text read from a file as another type than text in memory.
    pd.testing.assert_frame_equal(
        whole.sort_values(keys, ignore_index=True),
        mine.sort_values(keys, ignore_index=True),
        check_dtype=False,
    )


def test_a_finished_cell_is_not_run_again(finished: tuple[Path, pd.DataFrame]) -> None:
    """Nothing is missing; without one file, one cell is; a damaged file is run again."""
    out, rows = finished
    dials = read_dials(DIALS)
    cells = grid.unique(
        grid.cells_of(split_entries(f"fedavg,ditto(ditto_steps=1),{MINE}"), dials, 1)
    )
    assert grid.run_grid(cells, SETUP, out, workers=1) == 0
    (out / "cells" / f"{cells[0].key}.parquet").unlink()
    (out / "cells" / f"{cells[1].key}.parquet").write_bytes(b"cut off")
    assert grid.run_grid(cells, SETUP, out, workers=1) == 2
    again, _ = grid.gather(cells, dials, SETUP, out)
    pd.testing.assert_frame_equal(again, rows)


def test_a_cell_depends_on_code_readings_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strategy, attack, change and model of the user's own, a folder's readings, and fedwatt: where
    any of them is another one, so is the digest, and a finished cell is not taken for this one's.
    Where nothing changes it stays."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "homes"
    folder.mkdir()
    files = [tmp_path / f"own_{k}.py" for k in ("strategy", "attack", "change", "model")]
    readings = folder / "H1.parquet"
    for file in [*files, readings]:
        file.write_text("one")
    dial = Dial(attack="own_attack:f", attackers=0.5, change="own_change:f")
    setup = Setup(str(folder), 4, 2, preset="own_model:f")
    cell = Cell(entry_of("own_strategy:S"), "d", dial, 0)
    seen = [cell.digest(setup)]
    for file in [*files, readings]:
        file.write_text("another")
        assert cell.digest(setup) == cell.digest(setup)
        seen.append(cell.digest(setup))
    monkeypatch.setattr("simulations.benchmarks.strategies.setup.__version__", "another")
    seen.append(cell.digest(setup))
    assert len(set(seen)) == len(files) + 3


@pytest.mark.parametrize("texts", [("a:B", "a_B"), ("a(x=1)", "a_x=1_"), ("a" * 300, "a" * 301)])
def test_every_entry_has_files_of_its_own(texts: tuple[str, str]) -> None:
    """Whatever is written in place of what a file's name cannot hold, however long it is."""
    keys = [Cell(Entry(text, text), "clean", Dial(), 0).key for text in texts]
    assert keys[0] != keys[1]
    assert all(len(key) < 200 for key in keys)
    assert Cell(entry_of("fedavg"), "clean", Dial(), 0).key == "fedavg--clean--0"


def test_every_combination_has_a_row(finished: tuple[Path, pd.DataFrame]) -> None:
    """(3 strategies + 4 references) x 4 dials x 3 measured rounds x 4 homes, all errors finite."""
    rows = finished[1]
    assert len(rows) == 7 * 4 * 3 * 4
    assert np.isfinite(rows[["nrmse", "rmse", "mae", "mase", "bias"]].to_numpy()).all()
    assert rows.groupby(["dial", "strategy"]).size().nunique() == 1


def test_nan_updates_are_dropped_and_counted(finished: tuple[Path, pd.DataFrame]) -> None:
    """One of four attacks in each of two rounds."""
    rows = finished[1]
    attacked = rows[(rows["dial"] == "nan") & (rows["strategy"] == "fedavg") & (rows["round"] == 2)]
    assert attacked["dropped"].unique().tolist() == [2]
    assert attacked["malicious"].sum() == 1


def test_int8_sends_under_a_third_of_the_bytes(finished: tuple[Path, pd.DataFrame]) -> None:
    """Up, per update received (some drop out); down even fewer, but for the first model."""
    rows = finished[1]
    own = rows[(rows["strategy"] == "fedavg") & (rows["round"] == 2)].groupby("dial").first()
    clean, small = own.loc["clean"], own.loc["int8"]
    assert small["bytes_up"] / (8 - small["dropped"]) < clean["bytes_up"] / 8 / 3
    assert small["bytes_down"] < clean["bytes_down"] / 2


def test_epsilon_is_in_the_rows(finished: tuple[Path, pd.DataFrame]) -> None:
    """It grows with the rounds, and the server's view is the larger."""
    rows = finished[1]
    own = rows[(rows["dial"] == "dp") & (rows["strategy"] == "fedavg")].groupby("round").first()
    assert own["epsilon"].loc[2] > own["epsilon"].loc[1] > 0
    assert (own["epsilon_server"].loc[1:] > own["epsilon"].loc[1:]).all()


def test_the_page_and_the_tables_name_every_strategy(
    finished: tuple[Path, pd.DataFrame],
) -> None:
    """Strategies, references and dials."""
    out, rows = finished
    text = (out / "tables.md").read_text()
    for name in [*rows["strategy"].unique(), "int8", "nan", "dp"]:
        assert name in text
    assert "Attack and defence" in (out / "report.html").read_text()


def test_another_benchmarks_folder_is_refused(finished: tuple[Path, pd.DataFrame]) -> None:
    """Its settings would not be those of the rows in it."""
    out, _ = finished
    other = Setup("synthetic", households=5, rounds=2)
    with pytest.raises(InputError, match="households"):
        grid.open_grid(out, other, [], {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense", "nonsense"),
        ("fedprox(mu=1)", "mu"),
        ("fedprox(mu)", "mu"),
        ("a(b", "a"),
        ("local-only(learning_rate=0.01)", "references have no options"),
        ("Local-Only(x=1)", "references have no options"),
        ("fedavg(learning_rate=1,learning_rate=2)", "twice"),
        ("fedavg(fraction_train=0.1)", "fraction_train is set by"),
        ("krum(min_train_nodes=5)", "min_train_nodes is set by"),
        ("fedavg(seed=3)", "seed is set by"),
        ("fedavg(learning_rate=Infinity)", "learning_rate"),
        ("fedavg(learning_rate=NaN)", "learning_rate"),
        ("fedavg(learning_rate=true)", "learning_rate"),
        ("fedavg(local_steps=true)", "local_steps"),
        ("fedavg(local_steps=1.5)", "local_steps"),
        ("fedprox(proximal_mu=NaN)", "proximal_mu"),
        ("fedprox(proximal_mu=1e999)", "proximal_mu"),
        ("fedprox(proximal_mu=true)", "proximal_mu"),
        ("fedprox(proximal_mu=much)", "proximal_mu"),
        ("fedbuff(buffer=2.5)", "buffer"),
        ("fedasync(alpha=NaN)", "alpha"),
        ("krum(num_malicious_nodes=-3)", "num_malicious_nodes"),
        ("fedadam(eta=-1)", "eta"),
    ],
)
def test_mistakes_in_strategies_are_named(text: str, named: str) -> None:
    """In one line, before anything is run: what is no such number, what dials and seeds set, what
    is said twice, what nobody reads."""

    def read() -> None:
        for entry in split_entries(text):
            check(entry, 8)

    with pytest.raises(InputError, match=named) as told:
        read()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", [*known_strategies(), *REFERENCES])
def test_a_name_means_the_same_in_every_spelling(name: str) -> None:
    """The same entry, with the benchmark's defaults, and so the same cell; a module's keeps its
    letters."""
    entry = entry_of(name)
    for other in (name.upper(), name.title()):
        assert entry_of(other) == entry
        assert options_of(entry_of(other), 11) == options_of(entry, 11)
    assert entry_of("Mine:Own(x=1)").text == "Mine:Own(x=1)"


@pytest.mark.parametrize(
    ("text", "values", "setup", "named"),
    [
        ("scaffold", {"privacy_clip": 0.3}, {}, "scaffold under d: .*fl.privacy"),
        ("fedbuff", {"privacy_clip": 0.3}, {}, "fedbuff under d: .*fl.privacy"),
        ("fedasync", {"compression_down": "int8"}, {}, "fedasync under d: "),
        ("fedavg", {"climate_share": 0.5}, {}, "dial d: climate_share .* no second source"),
        ("fedavg", {"climate_share": 0.5}, {"data": "synthetic,/no/where"}, "dial d: .*no/where"),
        ("fedavg", {"attackers": 0.5}, {}, "dial d: .*no attack"),
        ("fedavg", {"attack": "nan"}, {}, "dial d: .*needs 1 attacker"),
        ("fedavg", {"attack": "alie", "attackers": 0.25}, {}, "dial d: .*needs 2 attackers"),
        ("fedavg", {}, {"learning_rate": 0.0}, "--learning-rate"),
        ("fedavg", {}, {"learning_rate": -1.0}, "--learning-rate"),
        ("fedavg", {}, {"learning_rate": float("nan")}, "--learning-rate"),
        ("fedavg", {}, {"learning_rate": float("inf")}, "--learning-rate"),
        ("fedavg", {}, {"money_days": float("nan")}, "--money-days"),
    ],
)
def test_what_no_cell_could_run_is_refused_before_the_first(
    text: str, values: dict[str, object], setup: dict[str, Any], named: str
) -> None:
    """Each entry is held against each dial, and each dial against the homes: beside a healthy one,
    a mistake is told at once and not when its cell's turn comes."""
    jobs = [(split_entries(f"fedavg,{text}"), read_dials({"clean": {}, "d": values}))]
    with pytest.raises(InputError, match=named) as told:
        checks.check(jobs, replace(SETUP, **setup))
    assert "\n" not in str(told.value)
    healthy = [(split_entries(f"fedavg,{text}"), read_dials({"clean": {}}))]
    checks.check(healthy, SETUP)


@given(st.integers(2, 40))
def test_the_parts_that_ship_fit_any_number_of_homes(homes: int) -> None:
    """What is left of them is not refused, and every colluder left has another beside it. Nothing
    is left out where there are homes enough."""
    jobs, left_out = checks.fitting(grid.plan(None, None, None), homes)
    checks.check(jobs, replace(SETUP, households=homes, check_days=0))
    kept = {name: dial for _, dials in jobs for name, dial in dials.items()}
    names = [f"H{i}" for i in range(homes)]
    for dial in kept.values():
        if dial.attack in COLLUDING:
            assert len(dial.malicious(0, names)) >= 2
    assert ("alie-10" in kept) == (homes >= 15)
    assert any(line.startswith("alie-10 is left out") for line in left_out) == (homes < 15)
    assert "clean" in kept


@pytest.mark.parametrize("beside", [["--quick"], ["--dials", "dials.yaml"]])
def test_parts_are_not_passed_over(beside: list[str], tmp_path: Path) -> None:
    """Beside what has parts of its own, or is one."""
    (tmp_path / "dials.yaml").write_text("clean: {}\n")
    args = [str(tmp_path / a) if a.endswith("yaml") else a for a in beside]
    out = tmp_path / "out"
    found = CliRunner().invoke(app, ["--out", str(out), "--parts", "table", *args])
    assert isinstance(found.exception, InputError)
    assert "--parts" in str(found.exception)
    assert not out.exists()


def test_options_are_read() -> None:
    """Numbers as numbers; commas in brackets do not part strategies."""
    entries = split_entries("fedavg, fedrep(head_steps=2,personal=mean.) ,m:C")
    assert [e.name for e in entries] == ["fedavg", "fedrep", "m:C"]
    assert dict(entries[1].options) == {"head_steps": 2, "personal": "mean."}
    assert entry_of("fedprox(proximal_mu=0.5)").options == (("proximal_mu", 0.5),)


def test_the_documentation_shows_the_strategy_that_is_tested() -> None:
    """The example in docs/strategies.md is mine.py, word for word."""
    root = Path(__file__).resolve().parents[4]
    example = Path(__file__).with_name("mine.py").read_text()
    assert example.strip() in (root / "docs" / "strategies.md").read_text()


@pytest.mark.slow
def test_asynchronous_cells_from_end_to_end(tmp_path: Path) -> None:
    """On unequal homes, with dropouts and int8: the same bytes twice, as many updates a round as
    FedAvg, in less simulated time; kinds of homes and the clock have tables of their own."""
    dials = read_dials(
        {
            "clean": {},
            "slow": {"step_spread": 1.0, "unsteadiness": 0.5, "dropouts": 0.2,
                     "compression": "int8", "newcomer_share": 0.25, "newcomer_days": 3},
        }
    )  # fmt: skip
    names = "fedavg,fedasync,fedbuff(buffer=2)"
    rows = run(tmp_path / "a", names, dials)
    run(tmp_path / "b", names, dials)
    assert (tmp_path / "a" / grid.ROWS).read_bytes() == (tmp_path / "b" / grid.ROWS).read_bytes()
    last = rows[(rows["round"] == 2) & ~rows["strategy"].isin(["local-only", "centralised"])]
    assert np.isfinite(last["nrmse"]).all()
    ends = last.groupby(["dial", "strategy"])[["simulated_s", "staleness", "bytes_up"]].first()
    slow = ends.loc["slow"]
    for name in ("fedasync", "fedbuff(buffer=2)"):
        assert 0 < slow.loc[name, "simulated_s"] < slow.loc["fedavg", "simulated_s"]
        assert slow.loc[name, "staleness"] > 0
        assert ends.loc[("clean", name), "bytes_up"] == ends.loc[("clean", "fedavg"), "bytes_up"]
    assert np.isnan(slow.loc["fedavg", "staleness"])
    assert rows[rows["dial"] == "slow"].groupby("household")["newcomer"].first().sum() == 1
    text = (tmp_path / "a" / "tables.md").read_text()
    assert "Simulated time" in text
    assert "newcomers of 3 d" in text


@pytest.mark.slow
def test_colluders_and_free_riders_go_through_the_messages(tmp_path: Path) -> None:
    """Each attack sends two of four homes' updates that are read, and gives another model."""
    kinds = ("none", "alie", "inner-product", "min-max", "free-rider", "hour-low")
    dials = read_dials({kind: {"attack": kind, "attackers": 0.5} for kind in kinds})
    rows = run(tmp_path / "a", "centred-clipping", dials)
    last = rows[(rows["strategy"] == "centred-clipping") & (rows["round"] == 2)]
    assert last["dropped"].eq(0).all()
    errors = last.groupby("dial")["rmse"].sum()
    assert errors.notna().all()
    assert errors.nunique() == len(kinds)
