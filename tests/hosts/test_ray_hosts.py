"""A run on a Ray cluster of two hosts, one of which is lost on the way."""

import time
from pathlib import Path

import pytest

from common.config import dump
from simulations.simulate import simulate
from simulations.summary import summarise
from tests.hosts.network import HOSTS_TESTS
from tests.hosts.ray_hosts import RayHosts
from tests.support.reading import intervals, ledger_rows, model, summary
from tests.support.runs import small

pytestmark = HOSTS_TESTS
PROGRAM = "from simulations.cli import main; main()"
END_S = 900.0


@pytest.mark.parametrize(
    ("loss", "after"),
    [
        ("kill", 24),  # intervals, and the second model round has just begun
        # Files tell of the first 12 intervals, the journals of the others.
        pytest.param("cut", 20, marks=pytest.mark.nightly),
        pytest.param("unplug", 20, marks=pytest.mark.nightly),
    ],
)
def test_a_host_is_lost_and_the_bytes_are_the_loops(
    loss: str, after: int, homes: Path, tmp_path: Path
) -> None:
    """Two homes on each host. The head has a core to spare, on which Ray begins the lost actor
    anew: from the homes' files and its journal, which lie in a folder that both hosts see."""
    settings = small(homes, "trader.kind=rule", "run.actors=2", "run.seed=5", households=4)
    (tmp_path / "run.yaml").write_text(dump(settings))
    out = tmp_path / "run"
    hosts = RayHosts(tmp_path, {"head": 2, "other": 1})
    try:
        run = hosts.run(
            "-c", PROGRAM, "simulate", "--config", str(tmp_path / "run.yaml"), "--engine",
            "batched", "--ray-address", hosts.address, "--out", str(out),
        )  # fmt: skip
        end = time.monotonic() + END_S
        while lines(out) < after:
            assert run.poll() is None, run.communicate()[0][-3000:]
            assert time.monotonic() < end
            time.sleep(0.02)
        assert [len(hosts.actors(name)) for name in ("head", "other")] == [1, 1]
        getattr(hosts, loss)("other")
        assert lines(out) < settings.intervals
        said, _ = run.communicate(timeout=END_S)
        assert run.returncode == 0, said[-3000:]
    finally:
        hosts.close()
    alone = tmp_path / "alone"
    alone.mkdir()
    simulate(settings, alone)
    summarise(alone, settings, 0.0)
    assert ledger_rows(out) == ledger_rows(alone)
    assert summary(out) == summary(alone)
    assert model(out) == model(alone)
    for name in ("H0001", "H0002", "H0003", "H0004"):
        assert intervals(out, name) == intervals(alone, name)


def lines(out: Path) -> int:
    """Intervals that a run has booked."""
    file = out / "intervals.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0
