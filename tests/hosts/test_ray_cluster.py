"""A Ray cluster of two hosts, of which one is lost in the middle of a run."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from common.config import dump
from simulations.simulate import simulate
from simulations.summary import summarise
from tests.hosts.network import Hosts, why_not
from tests.support.reading import intervals, ledger_rows, model, summary
from tests.support.runs import small

_REASON = why_not()
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.nightly,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]
HEAD, OTHER, PORT = "head", "other", 6379
PATIENCE_S = 900.0
STARTED = "Ray runtime started"
RUN = """
import sys
from pathlib import Path
from common.config import load
from simulations.simulate import simulate
simulate(load(sys.argv[1]), Path(sys.argv[2]))
"""


class Process:
    """A command on a host, with all it starts, and its log."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as opened:
            self._process = subprocess.Popen(command, stdout=opened, stderr=opened, env=env)

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait until something is so; the process must not end before."""
        end = time.monotonic() + PATIENCE_S
        while not until():
            assert self._process.poll() is None, self.said()[-3000:]
            assert time.monotonic() < end, f"nothing for {PATIENCE_S} s: {self.said()[-3000:]}"
            time.sleep(0.1)

    def status(self) -> int:
        return self._process.wait(PATIENCE_S)

    def below(self, name: str) -> list[psutil.Process]:
        """Processes that it has started, by the beginning of their name."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child for child in children if child.name().startswith(name)]

    def kill(self) -> None:
        """SIGKILL for all at once, as a host that loses its power."""
        if self._process.poll() is not None:
            return
        root = psutil.Process(self._process.pid)
        there = [root, *root.children(recursive=True)]
        # Stopped first: whoever saw another die would clean up behind it.
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for one in there:
                try:
                    act(one)
                except psutil.NoSuchProcess:
                    continue
        self._process.wait()


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[Process]:
    """A process that is gone when the block ends."""
    process = Process(command, env, log)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Two hosts on a switch."""
    made = Hosts([HEAD, OTHER])
    try:
        yield made
    finally:
        made.close()


def test_a_host_of_the_cluster_is_lost_and_no_byte_differs(
    hosts: Hosts, homes: Path, tmp_path: Path
) -> None:
    """An actor on each of two hosts. After twelve intervals one host's cable is cut, and it dies.

    Its households go on in a new actor on the other host, from the files that both hosts see.
    Ledger, model and summary are those of the loop, in one process.
    """
    options = ("trader.kind=rule", "market.import_cap_kw=2")
    plain, lost = tmp_path / "plain", tmp_path / "lost"
    plain.mkdir()
    lost.mkdir()
    settings = small(homes, *options, households=4)
    simulate(settings, plain)
    summarise(plain, settings, 0.0)

    address = f"{hosts.addresses[HEAD]}:{PORT}"
    on_ray = (f"run.ray_address={address}", "run.actors=2")
    settings = small(homes, *options, *on_ray, households=4, engine="batched")
    (tmp_path / "given.yaml").write_text(dump(settings))
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }

    def node(name: str, cores: int, *words: str) -> list[str]:
        ray = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block")
        where = (f"--node-ip-address={hosts.addresses[name]}", f"--num-cpus={cores}")
        return hosts.command(name, *ray, *where, "--disable-usage-stats", *words)

    def booked() -> int:
        file = lost / "intervals.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    # The head has room for the lost host's actor as well.
    first = node(HEAD, 2, "--head", f"--port={PORT}", "--include-dashboard=false")
    second = node(OTHER, 1, f"--address={address}")
    program = (sys.executable, "-c", RUN, str(tmp_path / "given.yaml"), str(lost))
    with running(first, env, tmp_path / "head.log") as head:
        head.wait(lambda: STARTED in head.said())
        with running(second, env, tmp_path / "other.log") as other:
            other.wait(lambda: STARTED in other.said())
            with running(hosts.command(HEAD, *program), env, tmp_path / "run.log") as run:
                run.wait(lambda: booked() >= 12)
                assert len(head.below("ray::Block")) == len(other.below("ray::Block")) == 1
                hosts.cable(OTHER, plugged=False)
                other.kill()
                assert booked() < settings.intervals
                assert run.status() == 0, run.said()[-3000:]
    summarise(lost, settings, 0.0)
    assert ledger_rows(lost) == ledger_rows(plain)
    assert model(lost) == model(plain)
    assert summary(lost) == summary(plain)
    for name in ("H0001", "H0002", "H0003", "H0004"):
        assert intervals(lost, name) == intervals(plain, name)
