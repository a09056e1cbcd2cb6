"""kill -9 at random points of 200 settlements: every interval is whole or absent."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from fl_server.ledger import Kind, Ledger
from tests.support.booked import NAMES, START, fills_of, settlement_of

INTERVALS = 200
ROOT = Path(__file__).parents[3]

SETTLER = """
import os, sys
from fl_server.ledger import Ledger
from tests.support.booked import NAMES, START, fills_of, settlement_of

# One import, then a fresh process per life: it plays from an interval on until it is killed.
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with Ledger(f"sqlite:///{sys.argv[1]}") as ledger:
            ledger.open_run("r", NAMES, start=START)
            for t in range(int(line), 200):
                ledger.record(t, fills_of(t), settlement_of(t - 1) if t else None)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def _booked(file: Path) -> int:
    """Check the ledger and return the number of intervals in it."""
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.open_run("r", NAMES, start=START)
        verdict = ledger.verify()
        assert verdict.error is None
        seen = {(row.interval, row.kind) for row in ledger.rows()}
    last = max((t for t, kind in seen if kind == Kind.FILLS), default=-1)
    assert {t for t, kind in seen if kind == Kind.FILLS} == set(range(last + 1))
    assert {t for t, kind in seen if kind == Kind.SETTLEMENT} == set(range(last))
    return last + 1


def _whole(file: Path) -> list[tuple[object, ...]]:
    with Ledger(f"sqlite:///{file}") as ledger:
        ledger.attach()
        return [tuple(row) for row in ledger.rows()]


def test_killed_at_random_points(tmp_path: Path) -> None:
    """A settler is killed again and again, up to 25 times, and restarted one interval *before*
    where it stopped. After each kill the ledger verifies and holds intervals 0 to n, each with all
    of its rows; at the end it is, row by row, the ledger of a run that nobody killed."""
    file, whole = tmp_path / "killed.sqlite", tmp_path / "whole.sqlite"
    rng, done, kills = random.Random(4), 0, 0
    settler = subprocess.Popen(
        [sys.executable, "-c", SETTLER, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert settler.stdin is not None
    assert settler.stdout is not None
    try:
        begin = 0.0
        while done < INTERVALS:
            settler.stdin.write(f"{max(done - 1, 0)}\n")
            settler.stdin.flush()
            child = int(settler.stdout.readline())
            begin = begin or time.monotonic()  # its imports have taken their time by now
            if kills < 25 and time.monotonic() - begin < 30:
                time.sleep(rng.uniform(0.0, 0.12))
                with contextlib.suppress(ProcessLookupError):  # it may have finished by itself
                    os.kill(child, signal.SIGKILL)
            status = int(settler.stdout.readline())
            kills += os.WIFSIGNALED(status)
            assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
            now = _booked(file) if file.is_file() and file.stat().st_size else 0
            assert now >= done, "a committed interval was lost"
            done = now
    finally:
        settler.stdin.close()
        settler.wait()
    assert kills >= 5
    with Ledger(f"sqlite:///{whole}", durable=False) as ledger:
        ledger.open_run("r", NAMES, start=START)
        for t in range(INTERVALS):
            ledger.record(t, fills_of(t), settlement_of(t - 1) if t else None)
    assert _whole(file) == _whole(whole)
