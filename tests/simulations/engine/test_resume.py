"""A run killed at any point and resumed leaves the same bytes as one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config import Settings, dump
from fl_server.run_files import INTERVALS
from tests.support.reading import intervals, ledger_rows, model, summary
from tests.support.runs import small

Run = Callable[[Settings], Path]
# Checkpoints and model rounds do not coincide, and forecasts matter.
OPTIONS = ("trader.kind=rule", "run.checkpoint_hours=4", "fl.every_hours=3", "run.days=0.75")
COMMAND = [sys.executable, "-c", "from simulations.cli import main; main()", "simulate"]


def _start(words: list[str]) -> subprocess.Popen[bytes]:
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    return subprocess.Popen(
        COMMAND + words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def _lines(directory: Path) -> int:
    path = directory / INTERVALS
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("engine", "more"),
    [("loop", ()), ("batched", ()), ("loop", ("fl.secure_aggregation=true",))],
    ids=["loop", "batched", "secure aggregation"],
)
def test_resume_after_kill(
    engine: str, more: tuple[str, ...], homes: Path, run: Run, tmp_path: Path
) -> None:
    """SIGKILL of the whole process group at seeded random moments, then to the end.

    One process is killed before the first checkpoint, and again anywhere after it; the actors'
    whole process group once, after a checkpoint.
    """
    settings = small(homes, *OPTIONS, *more, "run.actors=2", engine="loop")
    left_alone = run(settings)
    config = tmp_path / "config.yaml"
    config.write_text(dump(small(homes, *OPTIONS, *more, "run.actors=2", engine=engine)))
    out = tmp_path / "run"
    draw = random.Random(engine)
    moments = [draw.randint(1, 5), draw.randint(9, 30)]
    for kill_after in (*(moments if engine == "loop" else moments[1:]), None):
        new = not (out / "config.yaml").exists()
        words = ["--config", str(config), "--out", str(out)] if new else ["--resume", str(out)]
        process = _start(words)
        if kill_after is None:
            _, errors = process.communicate()
            assert process.returncode == 0, errors.decode()[-2000:]
            break
        while _lines(out) < kill_after:
            assert process.poll() is None, process.communicate()[1].decode()[-2000:]
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(1.0 if engine == "batched" else 0.0)  # Ray's processes notice
    assert ledger_rows(out) == ledger_rows(left_alone)
    assert summary(out) == summary(left_alone)
    assert model(out) == model(left_alone)
    for name in ("H0001", "H0002", "H0003"):
        assert intervals(out, name) == intervals(left_alone, name)
