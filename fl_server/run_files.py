"""The files of a run directory that the coordinator writes, one line a fact."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from common.config import Settings
from common.files import plain, write_whole

INTERVALS = "intervals.jsonl"
ROUNDS = "rounds.jsonl"
REPORTS = "reports.json"
LEDGER = "ledger.sqlite"
SUMMARY = "summary.json"
_BLOCK = 1 << 16


def ledger_url(settings: Settings, directory: Path) -> str:
    """SQLAlchemy URL of the ledger of the run in ``directory``."""
    return settings.ledger.url or f"sqlite:///{directory / LEDGER}"


class Lines:
    """A file of JSON lines, flushed line by line; lines from ``first`` on are dropped at opening.

    ``key`` names the number that orders the lines. ``digest`` is that of all lines there are: a
    checkpoint keeps it, so that a file that was changed since is not gone on with.
    """

    def __init__(self, path: Path, key: str, first: int) -> None:
        kept = [line for line in read_lines(path) if _number(line, key) < first]
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_whole(path, text)
        self._hash = hashlib.sha256(text.encode())
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: Mapping[str, object]) -> None:
        """Append one line."""
        text = json.dumps(plain(line), allow_nan=False) + "\n"
        self._file.write(text)
        self._file.flush()
        self._hash.update(text.encode())

    @property
    def digest(self) -> str:
        """SHA-256 of all lines, in hex."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def digest_of(path: Path, key: str, first: int) -> str:
    """The ``digest`` that ``Lines`` of this file would have when it is opened; nothing is changed.

    Raises ValueError, KeyError or TypeError for lines that ``Lines`` has not written.
    """
    kept = [line for line in read_lines(path) if _number(line, key) < first]
    return hashlib.sha256("".join(json.dumps(line) + "\n" for line in kept).encode()).hexdigest()


def read_lines(path: Path) -> list[dict[str, object]]:
    """Lines of a file written by ``Lines``; a torn last line (a killed process) is left out."""
    return _parsed(path.read_bytes()) if path.exists() else []


def newest_lines(path: Path, count: int) -> list[dict[str, object]]:
    """The last lines of such a file, at most ``count``, without reading the others."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        text = b""
        while len(text) < size and text.count(b"\n") <= count:
            file.seek(max(size - 2 * len(text) - _BLOCK, 0))
            text = file.read()
    return _parsed(b"\n".join(text.splitlines()[-count - 1 :]))[-count:]


def _parsed(text: bytes) -> list[dict[str, object]]:
    lines = []
    for line in text.splitlines():
        try:
            loaded = json.loads(line)
        except ValueError:
            continue
        if isinstance(loaded, dict):
            lines.append(loaded)
    return lines


def _number(line: Mapping[str, object], key: str) -> int:
    number = line.get(key)
    return number if isinstance(number, int) else 0
