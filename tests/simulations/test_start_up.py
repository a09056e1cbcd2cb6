"""What a run of the loop engine does without, so that it starts soon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.runs import HISTORY_DAYS

SPARED = (
    "ray", "sklearn", "pvlib", "matplotlib", "lightgbm", "scipy.stats", "scipy.optimize",
    "scipy.integrate", "scipy.ndimage", "requests", "torch._dynamo", "torch._inductor",
    "fl_server.host.live", "paho",
)  # fmt: skip
"""Each takes from a tenth of a second to some seconds of CPU to import."""

PROGRAM = f"""
import sys
from simulations.cli import main
try:
    main()
finally:
    print("imported:", *(name for name in {SPARED!r} if name in sys.modules))
"""


@pytest.mark.slow
def test_a_loop_run_imports_nothing_it_does_not_use(homes: Path, tmp_path: Path) -> None:
    """Forecasting, trading, learning and reporting. The first run keeps the clear sky of its
    months, for which it needs pvlib; the second finds it in the cache, as every later one does."""
    env = dict(
        os.environ, FEDWATT_CACHE=str(tmp_path / "cache"), PYTHONPATH=os.pathsep.join(sys.path)
    )
    words = ["--data", str(homes), "--households", "3", "--days", "0.125"]
    words += ["--set", f"run.history_days={HISTORY_DAYS}", "--set", "fl.every_hours=1"]
    said = []
    for name in ("first", "second"):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, "simulate", *words, "--out", str(tmp_path / name)],
            capture_output=True, text=True, env=env, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-500:]
        said.append(ran.stdout.splitlines()[-1])
    assert "pvlib" in said[0].split()
    assert said[1].split() == ["imported:"]
