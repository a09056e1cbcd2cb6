"""A SuperLink that outlasts what Flower's gives up on: a busy database, a dead executor.

Private: written for one release.
"""

import subprocess
import threading
import time
from typing import Any

from common.flower_release import DATABASE, SUPERLINK
from fl_server.host.journal import journal

# Many households on a small host make SQLite's writers queue for longer than Flower's 5 s.
LOCK_WAIT_S = 60.0
PAUSE_S = 2.0


def wait_for_locks(seconds: float = LOCK_WAIT_S) -> None:
    """Let the SuperLink's database wait so long for its turn before it refuses a call."""
    mixin = vars(DATABASE.load())
    pragmas = dict(mixin["SQLITE_PRAGMAS"]) | {"busy_timeout": str(int(seconds * 1000))}
    mixin["SQLITE_PRAGMAS"] = tuple(pragmas.items())


def keep_executor(pause_s: float = PAUSE_S) -> None:
    """Start the process that starts ServerApps again when it ends.

    A SuperLink whose executor has died answers households, and never starts a run again.
    """
    lifespan = SUPERLINK.load().SuperLinkLifespan
    start = lifespan._start_superexec_if_needed

    def start_and_watch(self: Any) -> None:
        start(self)
        if self.superexec_process is not None:
            threading.Thread(target=watch, args=(self, self.superexec_process), daemon=True).start()

    def watch(self: Any, process: "subprocess.Popen[bytes]") -> None:
        status = process.wait()
        time.sleep(pause_s)
        # A SuperLink that shuts down has forgotten it by now.
        if self.superexec_process is process:
            journal("executor started again", ended_with=status)
            start_and_watch(self)

    lifespan._start_superexec_if_needed = start_and_watch
