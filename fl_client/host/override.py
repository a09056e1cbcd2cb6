"""``fedwatt client override``: the people of the house take the battery out of the plan's hands."""

import time
from pathlib import Path

from common.errors import InputError
from fl_client.control.record import NONE, Record
from fl_client.control.settings import CONTROL, read_control
from fl_client.home.clock import read_clock


def begin_override(home: Path, hours: float | None, why: str) -> str:
    """Leave the battery to its inverter for ``hours``, None: until it is ended. Raises InputError.

    Returns what to tell the user.
    """
    record = _record(home)
    now = read_clock(home).now()
    until = None if hours is None else now + hours * 3600
    record.set_override(now, until, "fedwatt client override", why)
    record.close()
    if until is None:
        return "the battery is its inverter's until: fedwatt client override --end"
    return f"the battery is its inverter's until {time.strftime('%d %H:%M', time.localtime(until))}"


def end_override(home: Path) -> str:
    """End it. Raises InputError. Returns what to tell the user."""
    record = _record(home)
    ended = record.clear_override()
    record.close()
    return "the plan may have it again" if ended else "there was no override"


def _record(home: Path) -> Record:
    if read_control(home).mode == NONE:
        raise InputError(f"{home / CONTROL}: not there, or mode none: nobody commands a battery")
    return Record(home)
