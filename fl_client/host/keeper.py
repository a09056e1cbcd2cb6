"""Keeps one process running: starts it again whenever it ends, until told to stop.

    python -m fl_client.host.keeper COMMAND ...

Standard library alone, for it stays in the memory of a small computer for months. A SuperNode that
was killed is refused until its last heartbeat has lapsed, about a minute: it is simply tried again,
less and less often.
"""

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
_STEADY_S = 120.0
_PR_SET_PDEATHSIG = 1


def keep(command: Sequence[str], first_pause_s: float = FIRST_PAUSE_S) -> int:
    """Run ``command`` again and again; returns 0 after SIGTERM or SIGINT, which are passed on."""
    process: subprocess.Popen[bytes] | None = None
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()
        if process is not None:
            process.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    tied = _die_with_parent if sys.platform == "linux" else None
    pause = first_pause_s
    while not stopped.is_set():
        begin = time.monotonic()
        process = subprocess.Popen(command, preexec_fn=tied)
        status = process.wait()
        if stopped.is_set():
            break
        if time.monotonic() - begin > _STEADY_S:
            pause = first_pause_s
        print(f"fedwatt: ended with status {status}; again in {pause:.0f} s", file=sys.stderr)
        sys.stderr.flush()
        stopped.wait(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
    return 0


def _die_with_parent() -> None:
    """A keeper that is killed must not leave its process behind (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
