"""Other frameworks beside this one: each way ends with the plain loop's model, and one that does
not is told so."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from common.arrays import Floats32
from common.config import load
from common.errors import InputError, RunError
from simulations.benchmarks.scale.command import app
from simulations.benchmarks.scale.peers import compare
from simulations.benchmarks.scale.peers.compare import Compared, distance, same
from simulations.benchmarks.scale.peers.task import (
    START,
    Round,
    RoundClock,
    prepare,
    read_weights,
)
from simulations.benchmarks.scale.peers.ways import PLAIN, WAYS, missing

ROUNDS = 2


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic homes with nine days each, and the smallest model."""
    directory = tmp_path_factory.mktemp("peers") / "task"
    settings = load(
        None,
        ["model.preset=slot-small", "fl.local_steps=1", "training.batch_size=8"],
        run={"households": 3, "days": 1.0, "history_days": 9},
        data={"source": "synthetic", "fallback": None},
    )
    prepare(settings, directory)
    return directory


@pytest.fixture(scope="module")
def plain(task: Path) -> tuple[dict[str, Floats32], dict[str, Floats32]]:
    """The plain loop's models after one round and after two."""
    clock = RoundClock()
    last = WAYS[PLAIN].load()(task, ROUNDS, 1, clock)
    return clock.first, last


@pytest.mark.parametrize(
    "way",
    [
        "loop",
        pytest.param("batched", marks=pytest.mark.slow),
        pytest.param("flower", marks=pytest.mark.slow),
        "pfl",
    ],
)
def test_every_way_ends_with_the_plain_loops_model(
    way: str, task: Path, plain: tuple[dict[str, Floats32], dict[str, Floats32]]
) -> None:
    """After each round: the same model to rounding. Of the other round it is another model."""
    lacking = missing(way)
    if lacking is not None:
        pytest.skip(lacking)
    start, clock = read_weights(task / START), RoundClock()
    model = WAYS[way].load()(task, ROUNDS, 1, clock)
    first, last = (distance(*two, start) for two in zip((clock.first, model), plain, strict=True))
    same(way, 3, first, last)
    assert len(clock.rounds) == ROUNDS
    assert all(one.seconds > 0 and one.cpu_s > 0 for one in clock.rounds)
    with pytest.raises(RunError, match="at the end its model is"):
        same(way, 3, first, distance(clock.first, plain[1], start))


def test_distance_is_a_share_of_the_way() -> None:
    """From (0, 0) to (3, 4) are 5; (3, 4.5) is 0.5 beside it: a tenth. Other shapes are never
    the same, nor is a model that has not moved a measure of anything."""

    def model(*values: float) -> dict[str, Floats32]:
        return {"a": np.array(values[:1], np.float32), "b": np.array(values[1:], np.float32)}

    start, end = model(0, 0), model(3, 4)
    assert distance(model(3, 4.5), end, start) == pytest.approx(0.1)
    assert distance(end, end, start) == 0
    assert distance(model(3, 4, 0), end, start) == np.inf
    assert distance(start, start, start) == np.inf
    with pytest.raises(RunError, match="far, 2 clients: after one round"):
        same("far", 2, float("nan"), 0.0)


def test_ratios_are_of_the_fastest_round_and_all_cores() -> None:
    """2 cores for 3 s against 1.5 s of training on one: 4; 4.5 CPU s against 1.5: 3."""
    rounds = (Round(5.0, 4.5), Round(3.0, 6.0))
    row = Compared("batched", 10, 2, steady=rounds, floor_s=1.5, floor_cpu_s=1.5)
    assert (row.over_floor, row.cpu_over_floor) == (4.0, 3.0)


def test_a_way_that_is_not_installed_is_a_line_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither tried nor left out in silence, and the others go on."""
    tried: list[str] = []

    def part(directory: Path, name: str, rounds: int, cores: int) -> None:
        tried.append(name)
        if name == "prepare":
            (directory / "task").mkdir()
            np.savez(directory / "task" / START, a=np.zeros(2, np.float32))
            return
        for end in (".first", ""):
            np.savez(directory / f"{name}{end}.npz", a=np.ones(2, np.float32))
        took = '{"seconds": 2.0, "cpu_s": 2.0, "training_s": 1.0, "training_cpu_s": 1.0}'
        said = f'{{"whole_s": 9.0, "rounds": [{took}, {took}]}}'
        (directory / f"{name}.json").write_text(said)

    monkeypatch.setattr(compare, "_part", part)
    monkeypatch.setattr(compare, "missing", lambda name: "not here" if name == "pfl" else None)
    found = compare.compare(
        load(None, []), tmp_path / "out", steady=1, cores=1, ways=["pfl", "loop"]
    )
    assert tried == ["prepare", "plain", "loop"]
    assert [(row.way, row.skipped) for row in found] == [
        ("plain", None), ("loop", None), ("pfl", "not here"),
    ]  # fmt: skip
    assert found[1].start_s == 5.0


def test_what_a_way_says_when_it_fails_is_told(tmp_path: Path) -> None:
    """Settings whose task cannot be made end with the last line of the log, and no table."""
    words = ["--peers", "--households", "1", "--rounds", "1", "--set", "model.init=nowhere"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "o")])
    assert isinstance(result.exception, InputError)
    assert "nowhere" in str(result.exception)
