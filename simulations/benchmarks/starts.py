"""The days on which the spans of a benchmark begin, as a command is told them."""

from datetime import date

from common.errors import InputError


def read_starts(text: str) -> list[date]:
    """Comma-separated local days. Raises InputError that names the one that is none."""
    found = []
    for part in text.split(","):
        try:
            found.append(date.fromisoformat(part.strip()))
        except ValueError:
            raise InputError(f"--starts {part.strip()!r}: expected days like 2017-02-01") from None
    return found
