"""Numbers and stamps out of what meters send: JSON, plain text, rows."""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_MILLISECONDS = 1e11  # seconds since 1970 reach that in the year 5138
_LAST_S = 253_402_300_799.0  # the end of the year 9999
_AHEAD_S = 60.0
_INDEX = re.compile(r"-?[0-9]{1,9}")


class Unreadable(ValueError):
    """A message that holds no such number or stamp."""


def decode(text: str | bytes) -> Any:
    """What a message holds: JSON, or its text."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()


def pick(message: Any, path: str) -> Any:
    """The value at a dotted path such as ``SML.Total_in`` or ``emeters.0.total``; "" is the whole.

    A key that holds dots itself is found too. Raises Unreadable.
    """
    if not path:
        return message
    if isinstance(message, dict):
        if path in message:
            return message[path]
        key, dot, rest = path.partition(".")
        while dot:
            if key in message:
                return pick(message[key], rest)
            more, dot, rest = rest.partition(".")
            key = f"{key}.{more}"
    elif isinstance(message, list):
        key, _, rest = path.partition(".")
        if _INDEX.fullmatch(key) and -len(message) <= int(key) < len(message):
            return pick(message[int(key)], rest)
    raise Unreadable(f"nothing at {path!r}")


def number(value: Any) -> float:
    """A finite number. Raises Unreadable: what is no number is never 0."""
    if isinstance(value, bool) or value is None:
        raise Unreadable(f"{value!r} is no number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise Unreadable(f"{str(value)[:40]!r} is no number") from None
    except OverflowError:  # a whole number of hundreds of digits
        found = math.inf
    if not math.isfinite(found):
        raise Unreadable(f"{str(value)[:40]} is no number")
    return found


def said(value: Any, word: str) -> float:
    """The number of a value, or, where ``word`` is given, 1 for this text and 0 for another.

    Raises Unreadable.
    """
    if not word:
        return number(value)
    if value is None or isinstance(value, dict | list):
        raise Unreadable(f"{str(value)[:40]!r} is no word")
    text = str(value).strip()
    if text.lower() in ("", "unavailable", "unknown"):
        raise Unreadable(f"{text!r} is no answer")
    return float(text.lower() == word.lower())


def stamp(value: Any, zone: str, now: float) -> float:
    """Seconds since 1970 of a stamp: ISO 8601, or seconds or milliseconds since 1970.

    A stamp without zone is in ``zone``. In the hour that the clock repeats it is the later of the
    two that is not in the future of ``now``. Raises Unreadable, also without any zone.
    """
    if isinstance(value, datetime):
        when = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(number(value))
    else:
        text = str(value).strip()
        try:
            return _epoch(float(text))
        except ValueError:
            pass
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise Unreadable(f"{text[:40]!r} is no stamp") from None
    if when.tzinfo is not None:
        return when.timestamp()
    if not zone:
        raise Unreadable(f"stamp {when.isoformat()} without zone: say time: {{json, zone}}")
    place = ZoneInfo(zone)
    meant = [when.replace(tzinfo=place, fold=fold) for fold in (1, 0)]
    # A wall clock that was set forward never showed the hour left out.
    try:
        exist = [one for one in meant if _shows(one, when)]
    except OverflowError:  # an edge of the calendar
        exist = []
    if not exist:
        raise Unreadable(f"stamp {when.isoformat()} does not exist in {zone}")
    times = [one.timestamp() for one in exist]
    return next((t for t in times if t <= now + _AHEAD_S), times[-1])


def _shows(moment: datetime, wall: datetime) -> bool:
    back = moment.astimezone(UTC).astimezone(moment.tzinfo)
    return abs(back.replace(tzinfo=None) - wall) < timedelta(microseconds=1)


def _epoch(value: float) -> float:
    if not math.isfinite(value) or value <= 0:
        raise Unreadable(f"{value} is no stamp")
    seconds = value / 1000 if value > _MILLISECONDS else value
    if seconds > _LAST_S:
        raise Unreadable(f"{value:g} is no stamp in seconds or milliseconds")
    return seconds
