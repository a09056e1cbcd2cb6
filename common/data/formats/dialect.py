"""How a text table is written: encoding, separator, and the line its header stands in."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

SEPARATORS = (",", ";", "\t", "|")
_HEAD_BYTES = 1 << 17


@dataclass(frozen=True)
class Dialect:
    """``names``: the header's cells, each called by one name; ``skip``: lines before it;
    ``first``: cells of some rows; ``before``: the lines before the header.
    """

    encoding: str
    separator: str
    skip: int
    names: tuple[str, ...]
    first: tuple[tuple[str, ...], ...] = ()
    before: str = ""


def dialect_of(
    path: Path,
    *,
    encoding: str | None = None,
    separator: str | None = None,
    skip: int | None = None,
    header: str | None = None,
    search: bool = False,
) -> Dialect:
    """Return how a file is written, what is given taken as it is.

    ``header``: what the header line begins with. ``search``: look for the header below lines of
    another shape. Raises InputError where the file cannot be such a table.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_HEAD_BYTES)
            more = len(stream.read(1)) > 0
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    encoding = encoding or _encoding(raw)
    try:
        text = raw.decode(encoding, errors="replace")
    except LookupError:
        raise InputError(f"--encoding {encoding!r}: no such encoding") from None
    lines = text.splitlines()
    if more and lines:
        lines.pop()  # perhaps half a line
    if not any(line.strip() for line in lines):
        raise InputError(f"{path}: the file is empty")
    lines[0] = lines[0].removeprefix("\ufeff")
    told = lines[0].strip().strip('"')
    if told.lower().startswith("sep=") and len(told) == 5:
        separator = separator or told[4:]
        skip = 1 if skip is None and header is None else skip
    if header is not None:
        skip = _find(path, lines, header)
    if skip is None:
        skip = next(i for i, s in enumerate(lines) if s.strip() and not s.startswith("#"))
        if search:
            skip = _widest(lines, separator, skip)
    if skip >= len(lines):
        raise InputError(f"{path}: has {len(lines)} lines, none after the first {skip}")
    separator = separator or _separator(lines[skip])
    rows = [tuple(row) for row in csv.reader(lines[skip : skip + 200], delimiter=separator)]
    names = _unique([name.strip() for name in rows[0]] if rows else [])
    before = "\n".join(lines[:skip])
    return Dialect(encoding, separator, skip, names, tuple(r for r in rows[1:] if r), before)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Call columns without a name by their place, and those of one name by their number."""
    named = [name or f"column {place}" for place, name in enumerate(names, 1)]
    return tuple(
        f"{name} ({named[: at + 1].count(name)})" if named.count(name) > 1 else name
        for at, name in enumerate(named)
    )


def _encoding(raw: bytes) -> str:
    try:
        raw[: len(raw) - 4].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _find(path: Path, lines: Sequence[str], header: str) -> int:
    wanted = header.lower()
    for number, line in enumerate(lines):
        if line.removeprefix("\ufeff").replace('"', "").strip().lower().startswith(wanted):
            return number
    raise InputError(f"{path}: no line begins with {header!r}, as the header should")


def _separator(line: str) -> str:
    bare = line if '"' not in line else "".join(line.split('"')[::2])
    return max(SEPARATORS, key=bare.count)


def _widest(lines: Sequence[str], separator: str | None, begin: int) -> int:
    """The first line that has as many cells as most of the lines below it."""
    for number in range(begin, min(len(lines), begin + 100)):
        if not lines[number].strip():
            continue
        mark = separator or _separator(lines[number])
        cells = next(csv.reader([lines[number]], delimiter=mark))
        width = len(cells)
        if sum(bool(cell.strip()) for cell in cells) < 0.6 * width:
            continue  # a remark, padded to the width of the table
        below = [
            len(row) for row in csv.reader(lines[number + 1 : number + 40], delimiter=mark) if row
        ]
        if width > 1 and below and below.count(width) >= 0.9 * len(below):
            return number
    return begin
