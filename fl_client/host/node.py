"""The household's SuperNode, at a pace of its own, on a line that may go dead without a word.

    python -m fl_client.host.node SECONDS ARGUMENTS OF flower-supernode

Flower asks for messages every three seconds, and waits on a dead connection for as long as the
operating system does, a quarter of an hour. Private: written for the
releases that ``common.flower_release`` names.
"""

import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from common.errors import InputError
from common.flower_release import SUPERNODE, release, speaks_http
from fl_client.host.clientapp import check_host
from fl_client.host.executor import Standby, stand_by
from fl_client.host.probe import spoken

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


def refuse_http(arguments: Sequence[str]) -> None:
    """Raise InputError for a coordinator that speaks HTTP, where Flower here knows gRPC alone."""
    given = dict(pairwise(arguments))
    server, trusted = given.get("--superlink"), given.get("--root-certificates")
    if server is None:  # Flower says so
        return
    try:
        found = spoken(server, None if trusted is None else Path(trusted).read_bytes())
    except OSError:  # not there now, or not believed: Flower waits for it, or says so
        return
    if found == "http":
        raise InputError(
            f"{server} speaks HTTP, flwr {release()} gRPC alone: install the newer fedwatt "
            "environment (docs/flower.md), or the coordinator sets transport: grpc"
        )


def main() -> None:
    """Run ``flower-supernode``."""
    try:
        check_host()
        if not speaks_http():
            refuse_http(sys.argv)
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        sys.exit(2)
    poll_s = float(sys.argv.pop(1))
    # What both take is loaded before they part, and is in memory once.
    for shared in ("flwr.supernode.cli", "flwr.supercore.cli.flower_superexec"):
        importlib.import_module(shared)
    gc.freeze()  # a collection would copy the pages shared
    pace(poll_s, stand_by())
    if speaks_http():
        # After the fork: the executor speaks to its SuperNode alone.
        from fl_client.host.transport import speak_either

        speak_either()
    from flwr.supernode.cli import flower_supernode

    sys.argv[0] = "flower-supernode"
    flower_supernode()


if __name__ == "__main__":
    main()
