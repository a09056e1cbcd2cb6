"""Readings out of a file or folder that grows: CSV that is appended to, Parquet that is rewritten.

A CSV is read from where it was left, up to its last whole line; one that has become shorter, or is
another file, is read anew. Columns are found by the header.
"""

import csv
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from common.errors import InputError
from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel
from fl_client.home.sources.polling import poll
from fl_client.home.sources.source import Cursor
from fl_client.home.store import OWN
from fl_client.home.values import Unreadable, said, stamp

_SUFFIXES = (".csv", ".parquet")
_BLOCK = 1 << 20
_OVERLAP_S = 86400.0


class Files:
    """Files on this computer."""

    name = "file"

    def __init__(self, channels: Sequence[Channel], cursor: Cursor) -> None:
        self._channels = channels
        # By channel and file: what it was when it was last read, and how far.
        self._read: dict[str, dict[str, list[float]]] = {
            one.name: json.loads(cursor(one.name) or "{}") for one in channels
        }

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """See ``Source``."""
        inbox.state(self.name, "watching")
        poll(self._channels, inbox, stop, lambda one: self._look(one, inbox))

    def _look(self, one: Channel, inbox: Inbox) -> None:
        path = Path(one.address)
        if not path.exists():
            raise OSError(f"{path}: no such file or folder")
        seen, changed = self._read[one.name], False
        files = [path] if path.is_file() else sorted(
            file for file in path.iterdir() if file.suffix in _SUFFIXES
        )  # fmt: skip
        for file in files:
            status = file.stat()
            inode, offset, modified = seen.get(str(file), [0, 0, 0])
            if status.st_ino == inode and status.st_mtime_ns == modified:
                continue
            if file.suffix == ".parquet":
                offset = _parquet(one, file, offset, inbox)
            else:
                if status.st_ino != inode or status.st_size < offset:
                    offset = 0
                offset = _appended(one, file, int(offset), inbox)
            seen[str(file)], changed = [status.st_ino, offset, status.st_mtime_ns], True
        if changed:
            inbox.cursor(one, json.dumps(seen))


def _appended(one: Channel, file: Path, offset: int, inbox: Inbox) -> int:
    """Read a CSV from ``offset`` on; returns where its last whole line ends."""
    with file.open("rb") as source:
        header = source.readline()
        if not header.endswith(b"\n"):
            return 0
        names = next(csv.reader([header.decode("utf-8-sig")]))
        when, what = _columns(one, names, file)
        source.seek(max(offset, len(header)))
        end = source.tell()
        for line in _whole_lines(source):
            end += len(line)
            row = next(csv.reader([line.decode("utf-8", "replace")]), [])
            if len(row) == len(names):
                _take(one, row[when], row[what], inbox)
            elif row:
                inbox.doubt(one, f"left out: {file.name} has a row of {len(row)} fields")
    return end


def _whole_lines(source: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while more := source.read(_BLOCK):
        lines = (rest + more).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"


def _parquet(one: Channel, file: Path, newest: float, inbox: Inbox) -> float:
    """Read the rows of a Parquet file from a day before ``newest`` on; returns the newest time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        when, what = _columns(one, names, file)
        for batch in table.iter_batches(columns=[names[when], names[what]]):
            stamps, values = batch.column(0).to_pylist(), batch.column(1).to_pylist()
            for moment, value in zip(stamps, values, strict=True):
                at = _take(one, moment, value, inbox, not_before=newest - _OVERLAP_S)
                newest = max(newest, at)
    except pa.ArrowException as error:
        raise OSError(f"{file}: {str(error).splitlines()[0]}") from None
    return newest


def _columns(one: Channel, names: Sequence[str], file: Path) -> tuple[int, int]:
    """Which column holds the stamp, which the value. Raises InputError."""
    wanted = one.field or one.role
    for key, name in (("time", one.time), ("json", wanted)):
        if name not in names:
            raise InputError(f"{file}: no column {name!r} ({key}:); it has {', '.join(names)}")
    return list(names).index(one.time), list(names).index(wanted)


def _take(one: Channel, when: object, what: object, inbox: Inbox, not_before: float = 0.0) -> float:
    """Put one row; returns its time [s since 1970], 0 where it cannot be read or is too old."""
    if what is None or what == "":
        return 0.0
    try:
        at, value = stamp(when, one.zone, inbox.clock.now()), said(what, one.word)
    except Unreadable as error:
        inbox.doubt(one, f"left out: {error}")
        return 0.0
    if at < not_before:
        return 0.0
    inbox.put(one, at, value * one.scale, OWN)
    return min(at, inbox.clock.now())
