"""The SuperLink with bounds: what one household may send, how often, and in whose name.

    python -m fl_server.host.superlink ARGUMENTS OF flower-superlink

Puts the guard in the way of every call, by gRPC or HTTP, and tells of every refused one, without
keys or contents. Private: written for the releases that ``common.flower_release`` names.
"""

import logging
import os
import sys
from pathlib import Path

from common.errors import InputError
from common.flower_release import check_release, speaks_http
from fl_server.host.doors import watch_the_doors
from fl_server.host.endurance import keep_executor, wait_for_locks
from fl_server.host.folder import FOLDER_VARIABLE, Deployment, Folder
from fl_server.host.guard import Guard, Limits
from fl_server.host.journal import journal_to
from fl_server.host.over_grpc import guard_grpc
from fl_server.host.passage import Passage
from fl_server.host.refusals import Refusals
from fl_server.host.replies import hand_out_whole_replies


def limits_of(deployment: Deployment) -> Limits:
    """What ``server.yaml`` allows a household."""
    return Limits(
        int(deployment.message_mb * 1e6),
        deployment.requests_per_s,
        deployment.megabytes_per_hour * 1e6,
    )


def guard_calls(folder: Folder, deployment: Deployment) -> None:
    """Put the guard in the way of households' calls, and try whether it is."""
    limits, refusals = limits_of(deployment), Refusals()
    closed = not deployment.insecure
    passage = Passage(Guard(limits), closed=closed)
    guard_grpc(passage, refusals, limits.message_bytes)
    if speaks_http():
        from fl_server.host.over_http import Where, guard_http

        certificate, key = (
            (str(folder.tls / "server.pem"), str(folder.tls / "server.key"))
            if closed
            else (None, None)
        )
        where = Where(deployment.heard_on, deployment.fleet_port, certificate, key)
        by_http = deployment.transport == "http"
        guard_http(passage, refusals, limits.message_bytes, where if by_http else None)
    watch_the_doors(deployment, folder.tls / "ca.crt" if closed else None, limits.message_bytes)


def main() -> None:
    """Run ``flower-superlink`` with the guard."""
    try:
        check_release("the bounds of the SuperLink")
        if FOLDER_VARIABLE not in os.environ:
            raise InputError(f"{FOLDER_VARIABLE}: not set (fedwatt server start sets it)")
        folder = Folder(Path(os.environ[FOLDER_VARIABLE]))
        journal_to(folder.log / "link.jsonl")
        guard_calls(folder, folder.deployment())
        hand_out_whole_replies()
        wait_for_locks()
        keep_executor()
        sys.argv[0] = "flower-superlink"
        # Every poll would be a line.
        logging.getLogger("uvicorn.access").addFilter(lambda record: False)
        from flwr.superlink.cli.flower_superlink import flower_superlink

        flower_superlink()
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
