"""The process that steers a household's battery, or says what it would do.

python -m fl_client.host.control HOME

It reads what the meters' process has written and the plan that the ClientApp has left, and shares
nothing else with them: any of the three may be killed without harm to the others.
"""

import os
import sqlite3
import sys
import threading
from pathlib import Path

from common.errors import InputError
from common.processes import told_to_stop
from fl_client.control.adapters import open_adapter
from fl_client.control.adapters.adapter import Adapter
from fl_client.control.controller import Controller
from fl_client.control.plans import Plans
from fl_client.control.record import COMMAND, NONE, Override, Record, owed
from fl_client.control.settings import read_control
from fl_client.control.sight import StoreSight
from fl_client.home.clock import HouseClock, read_clock
from fl_client.home.daemon import Lock
from fl_client.home.mapping import MAPPING, read_mapping
from fl_client.home.store import STORE, Store
from fl_client.host.client_file import read_client, secrets

_LOOK_S, _SOONEST_S = 1.0, 0.05
_DAY_S = 86400.0


class Running:
    """The control of the household in folder ``home``. Raises InputError."""

    def __init__(self, home: Path) -> None:
        control, owes = read_control(home), owed(home)
        if control.mode == NONE and not owes:
            raise InputError(f"{home}: control.yaml says none, or is not there")
        self._lock = Lock(home / "control.lock", "its battery is controlled by another process")
        self.clock: HouseClock = read_clock(home)
        self._adapter: Adapter | None = None
        # In whatever mode: who was killed while it steered owes the battery to its inverter.
        if control.mode == COMMAND or (control.adapter and owes):
            self._adapter = open_adapter(control, secrets(home), read_client(home).name)
        channels = [*read_mapping(home / MAPPING), *control.readback]
        self._store = Store(home / STORE)
        self._sight = StoreSight(self._store, channels)
        self._every_s = control.every_s
        self.record = Record(home)
        self.controller = Controller(
            control, self._adapter, self._sight, self.record, Plans(home / "state").now
        )
        self._stepped = self._heard = self._tidied = -1.0
        self._override: Override | None = None

    def step(self) -> None:
        """One look; a step of the control where something new was said, people have asked for
        something else, or time has passed."""
        now, heard, override = self.clock.now(), self._sight.heard(), self._asked()
        if (
            heard > self._heard
            or override != self._override
            or not 0 <= now - self._stepped < self._every_s
        ):
            self._heard, self._override, self._stepped = heard, override, now
            self.controller.step(now)
        if now - self._tidied > _DAY_S:
            self._tidied = now
            self.record.forget(now)

    def _asked(self) -> Override | None:
        """The override that holds; as before where the record is busy: the step will say so."""
        try:
            return self.record.override(self.clock.now())
        except sqlite3.Error:
            return self._override

    def close(self) -> None:
        """Hand the battery back, and end."""
        self.controller.close(self.clock.now())
        if self._adapter is not None:
            self._adapter.close()
        self.record.close()
        self._store.close()
        self._lock.close()


def run(home: Path, stop: threading.Event) -> None:
    """Steer until ``stop``. Raises InputError."""
    while not (home / STORE).exists():  # the meters' process makes it
        if stop.wait(_LOOK_S):
            return
    running = Running(home)
    try:
        while not stop.wait(max(running.clock.wall(_LOOK_S), _SOONEST_S)):
            running.step()
    finally:
        running.close()


def main() -> int:
    """Steer the household's battery until SIGTERM or SIGINT."""
    # One battery needs no machine code: a quarter of the memory less, and no wait for a compiler
    # while a battery is under command.
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
    stop = told_to_stop()
    try:
        run(Path(sys.argv[1]), stop)
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
