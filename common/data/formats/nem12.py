"""NEM12, the interval data file of the Australian National Electricity Market.

Records by their number: 200 names a meter's data stream, 300 holds a day of it, 400 the quality of
parts of that day. Stamps are those of UTC+10 all year. Layout read on 2026-11-26 from AEMO's "Meter
Data File Format Specification NEM12 & NEM13", version 1.02
(https://fdocuments.us/document/meter-data-file-format-specification-nem12-nem13-data-file-format-specification.html).
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from common.arrays import Floats, Mask
from common.data.readings import Batch, Options
from common.errors import InputError

_UNITS = {"wh": 1e-3, "kwh": 1.0, "mwh": 1e3}
_DAY_MINUTES = 1440
# Quality flags: A actual, E estimate, F final substitute, S substitute, N none, V see records 400.
_ESTIMATES = {"E", "F", "S"}


@dataclass(frozen=True)
class _Stream:
    meter: str
    channel: str | None  # None: reactive energy, or another unit
    suffix: str
    factor: float
    minutes: int


@dataclass
class _Day:
    stream: _Stream
    row: int
    start: int
    values: Floats
    estimated: Mask


class Nem12:
    """Import (E), export (B) of each meter; several streams of one kind add up."""

    name = "nem12"
    title = "NEM12 interval data"
    zone = None
    clock = "+10:00"
    reads: frozenset[str] = frozenset({"name"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The first record names the format; retailers' extracts begin with a stream."""
        first = head.split("\n", 1)[0].split(",")
        return first[:2] == ["100", "NEM12"] or (
            first[0] == "200" and len(first) >= 9 and "\n300," in head
        )

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per day of a stream."""
        for path in paths:
            meters = set()
            for day in _days(path):
                if day.stream.channel is None:
                    continue
                meters.add(day.stream.meter)
                if options.name and len(meters) > 1:
                    raise InputError(
                        f"{path}: row {day.row}: --name {options.name}: the file holds several "
                        f"meters ({', '.join(sorted(meters))})"
                    )
                step = day.stream.minutes * 60
                size = len(day.values)
                yield Batch(
                    options.name or day.stream.meter,
                    day.stream.channel,
                    day.start + step * np.arange(size, dtype=np.int64),
                    np.full(size, step, dtype=np.int64),
                    day.values * day.stream.factor,
                    np.full(size, day.row, dtype=np.int64),
                    path,
                    day.estimated,
                    wall_clock=True,
                    series=day.stream.suffix,
                )


def _days(path: Path) -> Iterator[_Day]:
    stream: _Stream | None = None
    day: _Day | None = None
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as text:
        for row, cells in enumerate(csv.reader(text), 1):
            if not cells:
                continue
            if cells[0] == "400" and day is not None:
                _qualify(path, row, day, cells)
                continue
            if day is not None:
                yield day
                day = None
            if cells[0] == "200":
                stream = _stream(path, row, cells)
            elif cells[0] == "300":
                if stream is None:
                    raise InputError(f"{path}: row {row}: a 300 record before any 200 record")
                day = _day(path, row, cells, stream)
            elif cells[0] not in ("100", "400", "500", "900"):
                raise InputError(f"{path}: row {row}: record {cells[0]!r}: known: 100 to 500, 900")
    if day is not None:
        yield day


def _stream(path: Path, row: int, cells: Sequence[str]) -> _Stream:
    if len(cells) < 9:
        raise InputError(f"{path}: row {row}: {len(cells)} cells: a 200 record has at least 9")
    suffix, unit, minutes = cells[4].strip().upper(), cells[7].strip().lower(), cells[8].strip()
    if not minutes.isdigit() or int(minutes) not in (1, 5, 15, 30):
        raise InputError(f"{path}: row {row}: interval length {minutes!r}: known: 1, 5, 15, 30")
    kind = {"E": "import", "B": "export"}.get(suffix[:1])
    channel = kind if unit in _UNITS else None
    return _Stream(cells[1].strip(), channel, suffix, _UNITS.get(unit, 1.0), int(minutes))


def _day(path: Path, row: int, cells: Sequence[str], stream: _Stream) -> _Day:
    size = _DAY_MINUTES // stream.minutes
    if len(cells) < size + 3:
        raise InputError(
            f"{path}: row {row}: {len(cells)} cells: a day of {stream.minutes} minutes has "
            f"{size + 3} or more"
        )
    try:
        midnight = date.fromisoformat(cells[1].strip())
    except ValueError:
        raise InputError(f"{path}: row {row}: {cells[1]!r}: not a date such as 20250601") from None
    values = np.full(size, np.nan)
    for at, cell in enumerate(cells[2 : size + 2]):
        try:
            values[at] = float(cell) if cell.strip() else np.nan
        except ValueError:
            raise InputError(
                f"{path}: row {row}: value {at + 1} = {cell!r}: not a number"
            ) from None
    quality = cells[size + 2].strip()[:1].upper()
    if quality == "N":
        values[:] = np.nan
    start = (midnight - date(1970, 1, 1)).days * 86400
    return _Day(stream, row, start, values, np.full(size, quality in _ESTIMATES))


def _qualify(path: Path, row: int, day: _Day, cells: Sequence[str]) -> None:
    """Mark the intervals that a 400 record calls estimates or missing."""
    try:
        low, high = int(cells[1]) - 1, int(cells[2])
        quality = cells[3].strip()[:1].upper()
    except (IndexError, ValueError):
        raise InputError(f"{path}: row {row}: a 400 record names first, last and quality") from None
    day.estimated[low:high] = quality in _ESTIMATES
    if quality == "N":
        day.values[low:high] = np.nan
