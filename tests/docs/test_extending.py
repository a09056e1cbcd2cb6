"""docs/extending.md: every example in it is run as printed, and does what its section says."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from simulations.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
FILE = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.S)
COMMAND = re.compile(r"```\n(fedwatt .*?)\n```", re.S)


def follow(section: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Save the files of a section, and run its command there; returns what it prints."""
    for name, text in FILE.findall(SECTIONS[section]):
        assert text.count("\n") <= 40, f"{name}: more than 40 lines"
        (folder / name).write_text(text)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    [command] = COMMAND.findall(SECTIONS[section])
    known = set(sys.modules)
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    for name in set(sys.modules) - known:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.output


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_every_section_has_an_example() -> None:
    """One command a section, and at least one file to save."""
    assert len(SECTIONS) == 6
    for name, text in SECTIONS.items():
        assert len(COMMAND.findall(text)) == 1, name
        assert FILE.findall(text), name


@pytest.mark.slow
def test_a_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has rounds, under the strategy's name and its option."""
    follow("A strategy", tmp_path, monkeypatch)
    assert "share: 0.3" in (tmp_path / "half" / "config.yaml").read_text()
    summary = json.loads((tmp_path / "half" / "summary.json").read_text())
    assert summary["fl"]["rounds"] == 2
    assert summary["fl"]["strategy"] == "halfway:HalfWay"
    assert summary["fl"]["dropped_updates"] == 0


@pytest.mark.slow
def test_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was learned is the example's weights, and households forecast with them."""
    from safetensors.numpy import load_file

    follow("A model", tmp_path, monkeypatch)
    model = load_file(tmp_path / "linear-run" / "model" / "final.safetensors")
    assert model["heads.consumption_day.weight"].shape == (48, 48 * 24)
    assert all(np.isfinite(value).all() for value in model.values())


@pytest.mark.slow
def test_a_trader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batteries charge in the hours the option names, and no longer."""
    import sqlite3

    follow("A trader", tmp_path, monkeypatch)
    [file, *_] = sorted((tmp_path / "night-run" / "households").glob("*/household.sqlite"))
    with sqlite3.connect(file) as db:
        charge = [row[0] for row in db.execute("SELECT charge FROM intervals ORDER BY t")]
    assert sum(charge[:4]) > 0
    assert sum(charge[10:]) == 0


@pytest.mark.slow
def test_a_market_mechanism(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run clears by it; on a book of its own it trades at the lowest ask."""
    from common.market_rules import MarketRules
    from fl_server.market import OrderBook, clear

    follow("A market mechanism", tmp_path, monkeypatch)
    assert len(lines(tmp_path / "cheap-run" / "intervals.jsonl")) == 12
    zero = np.zeros(3, np.int64)
    book = OrderBook(
        np.arange(3), np.array([1, -1, -1], np.int8), np.full(3, 10**6),
        np.array([300_000, 100_000, 200_000]), zero, zero,
    )  # fmt: skip
    trades = clear("cheap:clear", book, MarketRules(0.0, 0.0))
    assert trades.price == 100_000
    assert trades.fills(3).sold.tolist() == [0, 10**6, 0]


def test_a_meter_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 W and 300 W in the quarters of each half hour are 0.1 kWh of it."""
    from common.data.store import read_household

    stamps = np.arange("2024-01-01T00:00", "2024-01-15T00:00", 15, dtype="datetime64[m]")
    rows = [f"{stamp};{100 if i % 2 == 0 else 300}" for i, stamp in enumerate(stamps)]
    (tmp_path / "meter.csv").write_text("\n".join(["when;watts", *rows]) + "\n")
    follow("A meter format", tmp_path, monkeypatch)
    [file] = (tmp_path / "homes").glob("*.parquet")
    home = read_household(file)
    assert home.timezone == "Europe/Paris"
    inner = home.consumption[4:-4]
    assert len(inner) > 600
    assert inner == pytest.approx(np.full(len(inner), 0.1))


@pytest.mark.slow
def test_an_attack_and_a_dial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All three communities are in the table, and the two bent ones differ from the clean one."""
    import pandas as pd

    follow("An attack, and a dial", tmp_path, monkeypatch)
    rows = pd.read_parquet(tmp_path / "mischief" / "rows.parquet")
    own = rows[rows["strategy"] == "fedavg"]
    assert set(own["dial"]) == {"clean", "lazy-20", "heaters"}
    last = own[own["round"] == own["round"].max()].set_index(["dial", "household"])["nrmse"]
    assert not np.allclose(last["clean"], last["heaters"])
    assert not np.allclose(last["clean"], last["lazy-20"])


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("fl.strategy=nothing:Here", "No module named 'nothing'"),
        ("model.preset=common.rng:generator", "model.preset = 'common.rng:generator'"),
        ("trader.kind=common.rng:nothing", "trader.kind = 'common.rng:nothing'"),
        ("market.mechanism=common.rng:nothing", "market.mechanism = 'common.rng:nothing'"),
    ],
)
def test_a_mistake_names_the_setting(tmp_path: Path, setting: str, why: str) -> None:
    """What cannot be loaded is one line, before anything is run."""
    words = ["simulate", "--data", "synthetic", "--households", "1", "--out", str(tmp_path / "x")]
    done = CliRunner().invoke(app, [*words, "--set", setting])
    assert why in str(done.exception)
    assert "\n" not in str(done.exception)
