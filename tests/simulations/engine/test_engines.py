"""Every engine carries the same run: the ledger, the summary and the model agree byte for byte."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from common.config import Settings, load
from fl_server.run_files import Lines
from simulations.simulate import simulate
from simulations.summary import summarise
from tests.support.reading import intervals, ledger_rows, model, summary
from tests.support.runs import small

Run = Callable[[Settings], Path]
# Under a cap somebody loses by the market: compensation rests on what each tells of itself.
OPTIONS = (
    "trader.kind=rule",
    "fl.fraction_train=0.6",
    "market.import_cap_kw=2",
    "market.compensate_losers=true",
)


@pytest.fixture(scope="module")
def plain(homes: Path, run: Run) -> Path:
    """The run to agree with: one process, one household after the other, forecasts that matter."""
    directory = run(small(homes, *OPTIONS))
    assert summary(directory)["cost"]["compensated"] > 0
    return directory


def _same(one: Path, other: Path) -> None:
    assert ledger_rows(one) == ledger_rows(other)
    assert summary(one) == summary(other)
    assert model(one) == model(other)
    for name in ("H0001", "H0002", "H0003"):
        assert intervals(one, name) == intervals(other, name)


def test_flower_engine_gives_the_same_bytes(plain: Path, homes: Path, run: Run) -> None:
    """Flower's own engine, where households hop between two processes from message to message."""
    _same(run(small(homes, *OPTIONS, "run.actors=2", engine="flower")), plain)


def test_batched_engine_gives_the_same_bytes_though_an_actor_is_killed(
    plain: Path, homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two actors, blocks of one and two households; the larger block's process gets SIGKILL twice.

    The first time within a day that no file tells of yet, the second time anywhere later.
    """
    settings = small(homes, *OPTIONS, "run.actors=2", engine="batched")
    killed: list[int] = []
    write = Lines.write

    def kill() -> None:
        for _ in range(3000):
            blocks = [
                child.pid
                for child in psutil.Process().children(recursive=True)
                if child.name().startswith("ray::Block") and child.pid not in killed
            ]
            if blocks:
                killed.append(max(blocks))
                return os.kill(killed[-1], signal.SIGKILL)
            time.sleep(0.02)

    def write_and_kill(lines: Lines, line: Mapping[str, object]) -> None:
        write(lines, line)
        if line.get("interval") in (5, 30):
            kill()

    monkeypatch.setattr(Lines, "write", write_and_kill)
    simulate(settings, tmp_path)
    summarise(tmp_path, settings, 0.0)
    assert len(killed) == 2
    _same(tmp_path, plain)


def test_batched_engine_runs_on_a_ray_cluster(plain: Path, homes: Path, tmp_path: Path) -> None:
    """Two Ray nodes of one core each: an actor on each of them, the same bytes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        values = [f"run.ray_address={cluster.address}", "run.actors=2"]
        settings = small(homes, *OPTIONS, *values, engine="batched")
        simulate(settings, tmp_path)
    finally:
        cluster.shutdown()
    summarise(tmp_path, settings, 0.0)
    _same(tmp_path, plain)


def test_an_engine_is_no_part_of_an_experiment() -> None:
    """Runs that differ in engine, actors or cluster have one digest; other settings change it."""
    one = load(None, ["run.engine=loop"])
    other = load(None, ["run.engine=batched", "run.actors=7", "run.ray_address=10.0.0.1:6379"])
    assert one.digest() == other.digest()
    assert one.digest() != load(None, ["run.engine=loop", "run.seed=1"]).digest()
