"""The table of a command's CPU seconds adds up, and its exit status is the command's."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "status"), [(["config", "show"], 0), (["simulate", "--engine", "none"], 2)]
)
def test_parts_add_up(words: list[str], status: int) -> None:
    """Each is rounded to 0.01 s. Both commands read settings, which need pandas and pydantic."""
    program = [sys.executable, "-m", "simulations.benchmarks.scale.start_up", *words]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    split = [line.partition("  ") for line in map(str.strip, done.stdout.splitlines())]
    parts = {name: float(spent) for spent, _, name in split if spent.replace(".", "").isdecimal()}
    total = parts.pop("CPU seconds in all")
    assert {"python", "import pandas", "import: all others", "exit"} <= set(parts)
    assert sum(parts.values()) == pytest.approx(total, abs=0.006 * len(parts))
