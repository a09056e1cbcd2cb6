"""What the soak says of a process that grows, and of one that does not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from simulations.benchmarks.deployment.soak import grown, watched

GROWS = """
import sys, time
kept = []
for line in sys.stdin:
    kept.append(bytearray(b"x" * 4_000_000)); kept.append(open("/dev/null"))
    print(len(kept), flush=True)
"""


# Memory of its own, beside which what it shares with others, who come and go, weighs nothing.
STAYS = """
import time
kept = bytearray(b"x" * 60_000_000)
print("ready", flush=True)
time.sleep(600)
"""


def test_growth_is_seen_where_there_is_growth(tmp_path: Path) -> None:
    """A process that keeps 4 MB and a descriptor an interval, and writes 10 kB, beside one that
    does nothing: the first's figures are those, the other's stay."""
    status, folder = tmp_path / "status.json", tmp_path / "server"
    folder.mkdir()
    grower = subprocess.Popen(
        [sys.executable, "-c", GROWS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    still = subprocess.Popen([sys.executable, "-c", STAYS], stdout=subprocess.PIPE, text=True)
    assert still.stdout is not None
    still.stdout.readline()
    assert grower.stdin is not None
    assert grower.stdout is not None
    try:
        parts = {"grower": psutil.Process(grower.pid), "still": psutil.Process(still.pid)}
        log = tmp_path / "soak.jsonl"
        with watched(parts, {"server": folder}, status, log, pause_s=0.05):
            for interval in range(1, 13):
                grower.stdin.write("\n")
                grower.stdin.flush()
                grower.stdout.readline()
                (folder / f"{interval}").write_bytes(b"x" * 10_000)
                status.write_text(json.dumps({"interval": interval}))
                looks = log.stat().st_size
                while log.stat().st_size == looks:  # one look at least in every interval
                    time.sleep(0.01)
                time.sleep(0.1)
    finally:
        for process in (grower, still):
            process.kill()
            process.wait()
    soaked = grown(log)
    assert soaked.intervals == 12
    early, late = soaked.parts["grower"].memory_mb
    assert late - early == pytest.approx(40, abs=12)
    first, last = soaked.parts["grower"].descriptors
    assert 8 <= last - first <= 11
    assert soaked.parts["still"].memory == pytest.approx(1.0, abs=0.02)
    assert len(set(soaked.parts["still"].descriptors)) == 1
    assert soaked.disk_kb["server"] == pytest.approx(10.0, rel=0.2)


def test_a_run_too_short_to_tell_says_so(tmp_path: Path) -> None:
    """Two looks are no soak; what is gone weighs nothing."""
    log, gone = tmp_path / "soak.jsonl", subprocess.Popen(["true"])
    gone.wait()
    with watched({"me": psutil.Process(os.getpid())}, {}, tmp_path / "none", log, pause_s=0.01):
        time.sleep(0.2)
    assert log.read_text()
    with pytest.raises(ValueError, match="3 are needed"):
        grown(log)
