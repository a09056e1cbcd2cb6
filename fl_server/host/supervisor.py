"""``fedwatt server run``: submits the run and stands by it until it is finished.

The ServerApp lives inside the SuperLink's host processes; it holds a lock while it lives. Where the
lock is free and the run is not finished, it is submitted again: Flower does not resume a run.
"""

import math
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from common.cadence import HALF_HOUR, Cadence
from common.errors import InputError
from common.files import read_passing
from fl_server.host.clock import next_boundary
from fl_server.host.flower import CONNECTION, flwr, write_app
from fl_server.host.folder import Folder, Live, alive
from fl_server.host.journal import journal, journal_to
from fl_server.host.members import admitted, read_members

_POLL_S = 1.0
_TAKES_UP_S = 90.0
_LONGEST_PAUSE_S = 60.0


def run_server(root: Path, speed: float | None, start: datetime | None, page: bool) -> None:
    """Start the run of a server folder, or continue it, until it is finished.

    ``speed``: how many times real time, inf: as fast as it can; None: as the run was begun, and
    real time where it was not. Raises InputError for what only its keeper can mend.
    """
    folder = Folder(root)
    deployment = folder.deployment()
    journal_to(folder.log / "run.jsonl")
    members = read_members(folder.members)
    if not (admitted(members) or deployment.insecure):
        raise InputError(f"{root}: nobody is admitted (fedwatt server admit)")
    settings = folder.settings(None if deployment.insecure else len(members))
    _begin(folder, settings.digest(), speed, start, settings.cadence)
    write_app(folder, settings)
    if page:
        from fl_server.host.web import serve

        try:
            serve(folder, deployment.page_host, deployment.page_port)
        except InputError as error:
            # The run is worth more than its window.
            journal("no page: the run goes on without", error=str(error))
    # What stopped it the last time may have been mended since.
    if not _finished(folder):
        folder.outcome.unlink(missing_ok=True)
    _stand_by(folder, deployment.failures_before_giving_up)


def _stand_by(folder: Folder, most_failures: int) -> None:
    """Submit the run whenever nobody runs it, until it is finished.

    Raises InputError for what only its keeper can mend, RuntimeError after so many failures in a
    row: attempts that booked no interval, or a SuperLink that was not reached.
    """
    failures, booked, pause = 0, _booked(folder), 1.0
    while not _finished(folder):
        if alive(folder):
            time.sleep(_POLL_S)
            continue
        outcome = _outcome(folder)
        if outcome.get("input"):
            raise InputError(str(outcome["error"]).removeprefix("InputError: "))
        if outcome:
            journal("the ServerApp ended", error=str(outcome.get("error")))
        if (now := _booked(folder)) > booked:
            failures, booked, pause = 0, now, 1.0
        if failures >= most_failures:
            last = outcome.get("error", "the SuperLink was not reached")
            raise RuntimeError(f"gave up after {failures} failures in a row: {last}")
        if failures:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        failures += 1
        try:
            folder.outcome.unlink(missing_ok=True)
            answer = flwr(folder, "run", str(folder.app), CONNECTION)
            journal("run submitted", flower_run=str(answer.get("run-id")), attempt=failures)
            # One that is late may come yet: the more of them, the busier the machine.
            _await_start(folder, failures * _TAKES_UP_S)
        except ConnectionError as error:
            journal("SuperLink not reached", error=str(error), attempt=failures)


def _booked(folder: Folder) -> int:
    """The next interval to run, as the coordinator told last; -1 before that."""
    return int(read_passing(folder.status).get("interval", -1))


def _begin(
    folder: Folder,
    digest: str,
    speed: float | None,
    start: datetime | None,
    cadence: Cadence = HALF_HOUR,
) -> None:
    """Fix the run's own id, its first interval and its clock, unless it has begun.

    Raises InputError where what is asked for differs from what the run was begun with.
    """
    begun = Live.read(folder.live)
    if begun is not None:
        if speed is not None and speed != (math.inf if begun.speed is None else begun.speed):
            kept = "max" if begun.speed is None else f"{begun.speed:g}"
            raise InputError(
                f"--speed {'max' if speed == math.inf else f'{speed:g}'}: this run was begun with "
                f"{kept}, and its clock is not changed; leave --speed out"
            )
        if start is not None and _utc(start) != pd.Timestamp(begun.start):
            raise InputError(
                f"--start {start:%Y-%m-%dT%H:%M}: this run was begun with "
                f"{pd.Timestamp(begun.start):%Y-%m-%dT%H:%M}; leave --start out"
            )
        return
    speed = 1.0 if speed is None else speed
    deployment = folder.deployment()
    begin = start or deployment.start
    real_time = begin is None
    if real_time:
        if speed not in (math.inf, 1.0):
            raise InputError("--speed: faster than real time needs --start, a day in the past")
        anchor = next_boundary(deployment.lead_s, time.time(), cadence)
        begin = datetime.fromtimestamp(anchor, UTC)
    else:
        anchor = time.time() + deployment.lead_s
    assert begin is not None
    run = f"{digest}-{secrets.token_hex(4)}"
    Live(run, _utc(begin).isoformat(), anchor, None if speed == math.inf else speed).write(
        folder.live
    )


def _utc(moment: datetime) -> pd.Timestamp:
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def _outcome(folder: Folder) -> dict[str, Any]:
    return read_passing(folder.outcome)


def _finished(folder: Folder) -> bool:
    return _outcome(folder).get("state") == "finished"


def _await_start(folder: Folder, takes_up_s: float) -> None:
    """Wait until the ServerApp holds the folder, or has ended already."""
    end = time.monotonic() + takes_up_s
    while time.monotonic() < end:
        if alive(folder) or folder.outcome.exists():
            return
        time.sleep(_POLL_S)
    journal("the ServerApp did not start", seconds=takes_up_s)
