"""Keeps processes running: starts each again whenever it ends, until told to stop.

    python -m fl_client.host.keeper COMMAND ... [--and COMMAND ...]

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
AND = "--and"
_STEADY_S = 120.0
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Whoever is killed must not leave behind what it started (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


TIED = _die_with_parent if sys.platform == "linux" else None
"""``preexec_fn`` of a process that is to end with the thread that started it."""


def keep(*commands: Sequence[str], first_pause_s: float = FIRST_PAUSE_S) -> int:
    """Run every command again and again; returns 0 after SIGTERM, SIGINT or SIGHUP, which are
    passed on as SIGTERM."""
    stopped = threading.Event()
    kept = [_Kept(command, first_pause_s, stopped) for command in commands]

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()
        for one in kept:
            one.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # The terminal is closed; under nohup that is ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
    # A process is told of the end of the thread that started it: each has one of its own.
    others = [threading.Thread(target=one.run) for one in kept[1:]]
    for thread in others:
        thread.start()
    kept[0].run()
    for thread in others:
        thread.join()
    return 0


class _Kept:
    """One command that runs, or waits to run again."""

    def __init__(self, command: Sequence[str], pause_s: float, stopped: threading.Event) -> None:
        self._command, self._first_pause_s, self._stopped = command, pause_s, stopped
        self._process: subprocess.Popen[bytes] | None = None

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._process is not None:
            self._process.terminate()

    def run(self) -> None:
        """Run until told to stop."""
        pause = self._first_pause_s
        while not self._stopped.is_set():
            begin = time.monotonic()
            self._process = subprocess.Popen(self._command, preexec_fn=TIED)
            if self._stopped.is_set():  # told to stop while it was being started
                self._process.terminate()
            status = self._process.wait()
            if self._stopped.is_set():
                return
            if time.monotonic() - begin > _STEADY_S:
                pause = self._first_pause_s
            print(f"fedwatt: ended with status {status}; again in {pause:.0f} s", file=sys.stderr)
            sys.stderr.flush()
            self._stopped.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def split(words: Sequence[str]) -> list[list[str]]:
    """Commands that ``--and`` stands between."""
    commands: list[list[str]] = [[]]
    for word in words:
        if word == AND:
            commands.append([])
        else:
            commands[-1].append(word)
    return commands


if __name__ == "__main__":
    sys.exit(keep(*split(sys.argv[1:])))
