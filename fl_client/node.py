"""The household's SuperNode, at a pace of its own, on a line that may go dead without a word.

    python -m fl_client.node SECONDS ARGUMENTS OF flower-supernode

Flower asks for messages every three seconds, and waits on a dead connection for as long as the
operating system does, a quarter of an hour. Private: written for one release.
"""

import importlib
import os
import sys
import time
from typing import Any

import grpc  # type: ignore[import-untyped]

from fl_client.host import check_release

FLOWERS_POLL_S = 3
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


def pace(poll_s: float) -> None:
    """Ask the coordinator for messages every ``poll_s`` seconds, and look after the line."""
    # By name: the package gives a function of the same name instead of the module.
    vars(importlib.import_module("flwr.supernode.start_client_internal"))["time"] = _Clock(poll_s)
    os.environ[_TASK_POLL] = str(min(max(poll_s / 2, 0.1), 1.0))
    channel = grpc.secure_channel

    def secure_channel(target: str, credentials: Any, options: Any = (), **more: Any) -> Any:
        return channel(target, credentials, options=[*(options or ()), *_LINE], **more)

    grpc.secure_channel = secure_channel


def main() -> None:
    """Run ``flower-supernode``."""
    check_release()
    poll_s = float(sys.argv.pop(1))
    pace(poll_s)
    from flwr.supernode.cli import flower_supernode

    sys.argv[0] = "flower-supernode"
    flower_supernode()


if __name__ == "__main__":
    main()
