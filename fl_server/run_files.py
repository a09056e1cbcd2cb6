"""The files of a run directory that the coordinator writes, one line a fact."""

import json
from collections.abc import Mapping
from pathlib import Path

from common.config import Settings
from common.files import plain, write_whole

INTERVALS = "intervals.jsonl"
ROUNDS = "rounds.jsonl"
REPORTS = "reports.json"
LEDGER = "ledger.sqlite"


def ledger_url(settings: Settings, directory: Path) -> str:
    """SQLAlchemy URL of the ledger of the run in ``directory``."""
    return settings.ledger.url or f"sqlite:///{directory / LEDGER}"


class Lines:
    """A file of JSON lines, flushed line by line; lines from ``first`` on are dropped at opening.

    ``key`` names the number that orders the lines.
    """

    def __init__(self, path: Path, key: str, first: int) -> None:
        kept = [line for line in read_lines(path) if int(line[key]) < first]  # type: ignore[call-overload]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: Mapping[str, object]) -> None:
        """Append one line."""
        self._file.write(json.dumps(plain(line), allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_lines(path: Path) -> list[dict[str, object]]:
    """Lines of a file written by ``Lines``; a torn last line (a killed process) is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
