"""``fedwatt client override``: the people of the house take the battery out of the plan's hands."""

import re
import time
from contextlib import closing
from pathlib import Path

from common.errors import InputError
from fl_client.control.record import NONE, Record
from fl_client.control.settings import CONTROL, read_control
from fl_client.home.clock import read_clock

LEAST_HOURS, MOST_HOURS = 1 / 60, 8760.0
"""How long an override holds that is not left open: from a minute to a year."""
# As people write it: no exponent, no digits that only look like some.
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")


def hours_of(text: str, option: str) -> float:
    """The hours that somebody has asked for. Raises InputError, which names ``option``."""
    hours = float(text) if _DECIMAL.fullmatch(text) else 0.0
    if not LEAST_HOURS <= hours <= MOST_HOURS:
        raise InputError(
            f"{option}: {text[:20]!r}: expected hours, as 3 or 1.5, from a minute (0.02) to a year "
            f"({MOST_HOURS:.0f}); left out, the override holds until it is ended"
        )
    return hours


def begin_override(home: Path, hours: str | None, why: str) -> str:
    """Leave the battery to its inverter for ``hours`` [h], None: until it is ended.

    Returns what to tell the user. Raises InputError.
    """
    lasts_s = None if hours is None else 3600 * hours_of(hours, "--hours")
    try:
        why.encode()
    except UnicodeEncodeError:
        # Bytes of a command line that are no text come as half characters, which no file takes.
        raise InputError(f"--why: {ascii(why)[:60]}: not text in UTF-8; write it anew") from None
    with closing(_record(home)) as record:
        now = read_clock(home).now()
        until = None if lasts_s is None else now + lasts_s
        record.set_override(now, until, "fedwatt client override", why)
    if until is None:
        return "the battery is its inverter's until: fedwatt client override --end"
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(until))
    return f"the battery is its inverter's until {moment}"


def end_override(home: Path) -> str:
    """End it. Raises InputError. Returns what to tell the user."""
    with closing(_record(home)) as record:
        ended = record.clear_override()
    return "the plan may have it again" if ended else "there was no override"


def _record(home: Path) -> Record:
    if read_control(home).mode == NONE:
        raise InputError(f"{home / CONTROL}: not there, or mode none: nobody commands a battery")
    return Record(home)
