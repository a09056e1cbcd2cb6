"""The plan that holds now, and what was traded with it, as the ClientApp has left them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from fl_client.control.recourse import Fill
from fl_client.control.steering import Steering, read_steering

_STATE = "household.sqlite"


class Plans:
    """Of the household whose state is in ``folder`` (HOME/state)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: tuple[str, int, Fill] = "", -1, Fill()  # run, interval, what was announced

    def now(self) -> tuple[Steering, Fill] | None:
        """The newest plan and its fills, as far as they were announced; None without a plan."""
        steering = read_steering(self._folder)
        return None if steering is None else (steering, self._fill(steering))

    def _fill(self, steering: Steering) -> Fill:
        path = self._folder / _STATE
        if not path.exists():
            return Fill()
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
                about = db.execute("SELECT value FROM about WHERE key = 'run'").fetchone()
                if about is None or about[0] != steering.run:
                    return Fill()
                told = db.execute(
                    "SELECT bought, sold FROM announced WHERE t = ?", (steering.t,)
                ).fetchone()
                allowed = db.execute(
                    "SELECT milliwh, scarcity FROM allowed WHERE t = ?", (steering.t,)
                ).fetchone()
        except sqlite3.Error:  # busy for too long, not made yet, or damaged
            # What was announced for an interval is not taken back while it runs.
            run, t, fill = self._read
            return fill if (run, t) == (steering.run, steering.t) else Fill()
        self._read = steering.run, steering.t, Fill.of(told, allowed)
        return self._read[2]
