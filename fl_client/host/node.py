"""The household's SuperNode, at a pace of its own, on a line that may go dead without a word.

    python -m fl_client.host.node SECONDS ARGUMENTS OF flower-supernode

Flower asks for messages every three seconds, and waits on a dead connection for as long as the
operating system does, a quarter of an hour. Private: written for one release.
"""

import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]

from common.flower_release import SUPERNODE
from fl_client.host.clientapp import check_host
from fl_client.host.executor import Standby, stand_by

FLOWERS_POLL_S = 3
_GRACE_S = 2.0
_TASK_POLL = "FLWR_SUPEREXEC_TASK_POLL_INTERVAL"
# A call that gets no answer for so long asks whether the line is alive, and so long after that
# the connection is made anew. Calls are answered at once, so a sound line sees none of it.
_LINE = (("grpc.keepalive_time_ms", 30_000), ("grpc.keepalive_timeout_ms", 20_000))


class _Clock:
    """``time`` for Flower's loop: its wait between two polls lasts ``poll_s`` instead."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(self._poll_s if seconds == FLOWERS_POLL_S else seconds)


class _Tied:
    """``subprocess`` for Flower: its executor is the one that stands by, and they end together.

    Without one a SuperNode would go on asking for messages and answer none.
    """

    def __init__(self, standby: Standby) -> None:
        self._standby = standby

    def Popen(self, command: Sequence[str]) -> None:
        self._standby.start(command)
        threading.Thread(target=self._fall_with, daemon=True).start()

    def _fall_with(self) -> None:
        status = self._standby.wait()
        time.sleep(_GRACE_S)  # a SuperNode that is told to stop is gone by then
        print(f"fedwatt: the executor ended with status {status}", file=sys.stderr, flush=True)
        os._exit(1)


def pace(poll_s: float, standby: Standby) -> None:
    """Ask for messages every ``poll_s`` seconds; look after the line and the executor."""
    loop = vars(SUPERNODE.load())
    loop["time"] = _Clock(poll_s)
    loop["subprocess"] = _Tied(standby)
    os.environ[_TASK_POLL] = str(min(max(poll_s / 2, 0.1), 1.0))
    channel = grpc.secure_channel

    def secure_channel(target: str, credentials: Any, options: Any = (), **more: Any) -> Any:
        return channel(target, credentials, options=[*(options or ()), *_LINE], **more)

    grpc.secure_channel = secure_channel


def main() -> None:
    """Run ``flower-supernode``."""
    check_host()
    poll_s = float(sys.argv.pop(1))
    # What both take is loaded before they part, and is in memory once.
    for shared in ("flwr.supernode.cli", "flwr.supercore.cli.flower_superexec"):
        importlib.import_module(shared)
    gc.freeze()  # a collection would copy the pages shared
    pace(poll_s, stand_by())
    from flwr.supernode.cli import flower_supernode

    sys.argv[0] = "flower-supernode"
    flower_supernode()


if __name__ == "__main__":
    main()
