"""Figures as people read them; a missing one is a dash."""

from common.cadence import DAY_MINUTES, Cadence

MISSING = "\N{EN DASH}"


def money(value: float | None) -> str:
    """Two decimals."""
    return MISSING if value is None else f"{_no_minus_zero(value, 2):,.2f}"


def energy(value: float | None) -> str:
    """kWh, with a decimal while it says something."""
    if value is None:
        return MISSING
    return f"{value:,.0f} kWh" if abs(value) >= 1000 else f"{value:,.1f} kWh"


def percent(value: float | None) -> str:
    """A fraction in percent, one decimal."""
    return MISSING if value is None else f"{100 * value:.1f} %"


def count(value: float | None) -> str:
    """A whole number."""
    return MISSING if value is None else f"{value:,.0f}"


def plural(value: float | None, noun: str) -> str:
    """A whole number of things."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain number."""
    return MISSING if value is None else f"{_no_minus_zero(value, digits):,.{digits}f}"


def size(value: float | None) -> str:
    """Bytes with a unit of 1000."""
    if value is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def duration(seconds: float | None) -> str:
    """Seconds, or minutes and hours when there are many."""
    if seconds is None:
        return MISSING
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def span(intervals: int, cadence: Cadence) -> str:
    """A number of intervals as a length of time."""
    minutes = intervals * cadence.minutes
    if minutes < DAY_MINUTES:
        hours = minutes / 60
        if minutes == 30:
            return "half an hour"
        return plural(minutes, "minute") if minutes < 60 else f"{hours:g} hour{_s(hours)}"
    days = minutes / DAY_MINUTES
    return f"{days:g} day{_s(days)}" if days % 1 == 0 else f"{days:.1f} days"


def _s(number: float) -> str:
    return "" if number == 1 else "s"


def _no_minus_zero(value: float, digits: int) -> float:
    return round(value, digits) + 0.0
