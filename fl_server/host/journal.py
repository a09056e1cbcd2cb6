"""Structured log of a coordinator: one JSON line an event, on standard error and in its folder.

It carries names, counts and seconds; never a reading, an order, a price of one household or a key.
"""

import json
import sys
from datetime import UTC, datetime
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path

_FILE_BYTES = 20_000_000
_FILES = 5
_file: RotatingFileHandler | None = None


def journal_to(path: Path) -> None:
    """Write to this file as well; Flower swallows what a ServerApp prints."""
    global _file
    path.parent.mkdir(parents=True, exist_ok=True)
    _file = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES, encoding="utf-8")


def journal(event: str, **facts: str | int | float | bool | list[str] | None) -> None:
    """Write one line."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": time, "event": event, **facts})
    print(line, file=sys.stderr, flush=True)
    if _file is not None:
        _file.emit(LogRecord("fedwatt", 20, "", 0, line, None, None))
