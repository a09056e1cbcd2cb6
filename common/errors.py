"""Errors told in one clear line, without a traceback."""

import sqlite3
import sys


class InputError(ValueError):
    """A wrong file, key or value, named in the message. Commands print it and exit with 2."""


class RunError(RuntimeError):
    """What a run needs is gone, for no mistake of the user's. Commands print it and exit with 1."""


def of_the_world(error: Exception) -> str | None:
    """The line for an error that no code can mend, None for any other."""
    if isinstance(error, RunError):
        return str(error)
    if isinstance(error, sqlite3.Error):
        return f"a SQLite file: {' '.join(str(error).split())}"
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or ' '.join(str(error).split()) or type(error).__name__}"
    # Only who has opened a database has its drivers.
    database = sys.modules.get("sqlalchemy.exc")
    if database is not None and isinstance(error, database.DBAPIError):
        return f"the database: {' '.join(str(error.orig).split())}"
    return None
