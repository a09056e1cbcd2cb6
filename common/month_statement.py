"""A month's statement as a household keeps it: a text, its hash, and what it follows."""

import hashlib
import json
from dataclasses import dataclass

from common.errors import InputError


def digest(text: str) -> str:
    """SHA-256 of a statement, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Stated:
    """A statement read: ``month`` as YYYY-MM; ``total`` owed [1e-6 currency]; ``before``: the hash
    of the statement before it, "" for the first."""

    run: str
    household: str
    month: str
    timezone: str
    total: int
    before: str


def read_statement(text: str) -> Stated:
    """What a statement says of itself. Raises InputError for a text that is none."""
    try:
        said = json.loads(text)
        return Stated(
            str(said["run"]),
            str(said["household"]),
            str(said["month"]),
            str(said["timezone"]),
            int(said["total"]),
            str(said["before"]),
        )
    except (ValueError, KeyError, TypeError):
        raise InputError("a statement of a month: not as a coordinator writes it") from None
