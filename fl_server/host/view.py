"""What there is to see of a coordinator's folder: its status and the newest lines of its run."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.cadence import HALF_HOUR, Cadence
from common.errors import InputError
from common.files import read_passing
from fl_server.host.folder import Folder, alive
from fl_server.host.members import admitted, read_members
from fl_server.run_files import INTERVALS, ROUNDS, newest_lines

SHOWN_DAYS = 2
SHOWN_ROUNDS = 8


@dataclass(frozen=True)
class View:
    """The folder's status file, and the newest lines of intervals and rounds.

    ``alive``: whether a coordinator holds the folder. ``age_s``: age of the status.
    ``cadence``: how long the intervals are.
    """

    status: dict[str, Any]
    intervals: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    admitted: list[str] = field(default_factory=list)
    alive: bool = False
    age_s: float | None = None
    cadence: Cadence = HALF_HOUR


def look(folder: Folder) -> View:
    """Read a folder as it is now; works while a run goes on, and costs no more late in one."""
    status = read_passing(folder.status)
    cadence = Cadence(int(status.get("interval_minutes", HALF_HOUR.minutes)))
    try:
        names = admitted(read_members(folder.members))
    except InputError:
        names = sorted(status.get("households", {}))
    return View(
        status,
        newest_lines(folder.run / INTERVALS, SHOWN_DAYS * cadence.per_day),
        newest_lines(folder.run / ROUNDS, SHOWN_ROUNDS),
        names,
        alive(folder),
        time.time() - float(status["time"]) if "time" in status else None,
        cadence,
    )


def progress(status: Mapping[str, Any]) -> str:
    """How far a run is: of how many intervals, where it has an end."""
    total = status["intervals"]
    return str(status["interval"]) if total is None else f"{status['interval']} of {total}"
