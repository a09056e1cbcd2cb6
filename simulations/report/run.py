"""A run directory as the report reads it. Parts that a run does not have are empty, not errors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.cadence import HALF_HOUR, MINUTES, Cadence
from common.errors import InputError
from common.yaml_text import read_yaml
from fl_server.run_files import SUMMARY


@dataclass(frozen=True)
class Run:
    """What a finished run left behind.

    ``intervals`` and ``rounds`` have one row a line of their files, numbers as float64 and
    missing ones as nan; ``households`` maps names to their databases, in the order of the names.
    """

    path: Path
    summary: Mapping[str, Any]
    settings: Mapping[str, Any]
    intervals: pd.DataFrame
    rounds: pd.DataFrame
    households: Mapping[str, Path]

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the summary; empty when the run has none."""
        value = self.summary.get(name)
        return value if isinstance(value, Mapping) else {}

    @property
    def details(self) -> list[Mapping[str, Any]]:
        """What the summary says of each household."""
        return [d for d in self.summary.get("households_detail") or [] if isinstance(d, Mapping)]

    def setting(self, section: str, key: str, default: Any = None) -> Any:
        """One setting of the run."""
        values = self.settings.get(section)
        return values.get(key, default) if isinstance(values, Mapping) else default

    @property
    def cadence(self) -> Cadence:
        """How long an interval is; half an hour in runs of older releases."""
        minutes = self.setting("run", "interval_minutes")
        return Cadence(minutes) if minutes in MINUTES else HALF_HOUR

    @property
    def length(self) -> int:
        """Number of intervals, by the log or else by the summary."""
        return len(self.intervals) or int(number(self.summary, "intervals") or 0)

    @property
    def origin(self) -> int:
        """Number of the first interval, as the logs count."""
        return int(self.intervals["interval"].iloc[0]) if len(self.intervals) else 0

    @property
    def zones(self) -> list[str]:
        """Time zones of the homes, where the run says them."""
        said = self.section("data").get("timezone") or self.setting("data", "timezone") or ""
        return [name for name in str(said).split(", ") if _is_zone(name)]

    @property
    def timezone(self) -> str:
        """Time zone the pictures are drawn in: that of the homes where they have but one."""
        return self.zones[0] if len(self.zones) == 1 else "UTC"

    def times(self, size: int = 1) -> list[str]:
        """Wall-clock start of every ``size``-th interval, as plotly reads it."""
        if not len(self.intervals):
            return []
        index = pd.DatetimeIndex(self.intervals["time"])[::size].tz_convert(self.timezone)
        return list(index.strftime("%Y-%m-%dT%H:%M"))

    def series(self, column: str) -> NDArray[np.float64]:
        """A column of the interval log, (T,); nan where it has none."""
        return _column(self.intervals, column)

    def by_round(self, column: str) -> NDArray[np.float64]:
        """A column of the round log, (R,); nan where it has none."""
        return _column(self.rounds, column)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _column(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    if name not in frame:
        return np.full(len(frame), np.nan)
    return pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)


def number(values: Mapping[str, Any], key: str) -> float | None:
    """A number of a mapping; None when it is missing, null, not finite or no number."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        return None
    return float(value)


def read_run(path: Path) -> Run:
    """Read a run directory. Raises InputError for one that is none, or whose files are damaged."""
    if not path.is_dir():
        raise InputError(f"run directory {path}: no such directory")
    if not (path / SUMMARY).is_file():
        raise InputError(f"run directory {path}: no summary.json, so no finished run")
    summary = _json((path / SUMMARY).read_bytes(), str(path / SUMMARY))
    intervals = _lines(path / "intervals.jsonl", required=("interval", "time"))
    if len(intervals):
        try:
            intervals["time"] = pd.to_datetime(intervals["time"], utc=True, format="ISO8601")
        except (ValueError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise InputError(f"{path / 'intervals.jsonl'}: time: {first}") from None
    rounds = _lines(path / "rounds.jsonl", required=("round",))
    databases = sorted(path.glob("households/*/household.sqlite"))
    return Run(
        path=path,
        summary=summary,
        settings=_settings(path / "config.yaml"),
        intervals=intervals,
        rounds=rounds,
        households={file.parent.name: file for file in databases},
    )


def _json(content: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, got {type(value).__name__}")
    return value


def _lines(path: Path, required: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(required))
    rows = [
        _json(line, f"{path} line {n}")
        for n, line in enumerate(path.read_bytes().splitlines(), 1)
        if line.strip()
    ]
    for n, row in enumerate(rows, 1):
        missing = [key for key in required if key not in row]
        if missing:
            raise InputError(f"{path} record {n}: no {missing[0]!r}")
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(required))


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_yaml(path)
    return value if isinstance(value, dict) else {}
