"""Files as people download them - zipped, gzipped, UTF-16, a spreadsheet - as plain files.

What is plain already stays where it is. The rest is unpacked into a scratch folder, block by
block, so memory does not grow with the file.
"""

import codecs
import csv
import gzip
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime, time
from pathlib import Path

from common.errors import InputError

_BLOCK = 1 << 20
# More than this out of one archive is no meter's download.
_MOST_UNPACKED = 64 << 30
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".xlsb")


class Unpacked:
    """Plain files, and what each is called in messages."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._shown: dict[str, str] = {}
        self.paths: list[Path] = []

    def add(self, path: Path) -> None:
        """Add a file or folder as it is or unpacked. Raises InputError that names it."""
        if path.is_dir():
            self.paths.append(path)
            return
        try:
            with path.open("rb") as stream:
                head = stream.read(_BLOCK)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            self._add(path, head, str(path))
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
            raise InputError(f"{path}: cannot be unpacked: {error}") from None

    def _add(self, path: Path, head: bytes, shown: str) -> None:
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            sheet = "[Content_Types].xml" in names or "mimetype" in names
            if path.suffix.lower() in _SPREADSHEETS or sheet:
                self._spreadsheet(path, shown)
            else:
                self._archive(path, shown)
        elif head.startswith(b"\x1f\x8b"):
            name = path.name.removesuffix(".gz").removesuffix(".GZ")
            target = self._target(name or path.name, shown)
            with gzip.open(path) as stream:
                _copy(stream, target, shown)
            self._again(target, shown)
        elif head.startswith(b"\xd0\xcf\x11\xe0") and path.suffix.lower() in _SPREADSHEETS:
            self._spreadsheet(path, shown)
        elif any(head.startswith(bom) for bom, _ in _BOMS):
            encoding = next(name for bom, name in _BOMS if head.startswith(bom))
            target = self._target(path.name, shown)
            _transcode(path, target, encoding)
            self.paths.append(target)
        else:
            self.paths.append(path)

    def _again(self, target: Path, shown: str) -> None:
        with target.open("rb") as stream:
            head = stream.read(_BLOCK)
        self._add(target, head, shown)

    def _target(self, name: str, shown: str) -> Path:
        folder = self._scratch / f"unpacked-{len(self._shown)}"
        folder.mkdir()
        target = folder / (Path(name).name or "file")
        self._shown[str(target)] = shown
        return target

    def _archive(self, path: Path, shown: str) -> None:
        with zipfile.ZipFile(path) as archive:
            members = [
                m
                for m in archive.infolist()
                if not m.is_dir()
                and not m.filename.startswith("__MACOSX/")
                and not Path(m.filename).name.startswith(".")
            ]
            if not members:
                raise InputError(f"{shown}: the archive is empty")
            for member in sorted(members, key=lambda m: m.filename):
                inside = f"{shown}/{member.filename}"
                target = self._target(member.filename, inside)
                with archive.open(member) as stream:
                    _copy(stream, target, inside)
                self._again(target, inside)

    def _spreadsheet(self, path: Path, shown: str) -> None:
        from python_calamine import CalamineError, CalamineWorkbook

        try:
            book = CalamineWorkbook.from_path(str(path))
            sheets = [(name, book.get_sheet_by_name(name)) for name in book.sheet_names]
            full = [(name, rows) for name, s in sheets if (rows := s.to_python())]
        except CalamineError as error:
            raise InputError(
                f"{shown}: not a readable spreadsheet ({error}): save it as CSV"
            ) from None
        if not full:
            raise InputError(f"{shown}: the spreadsheet is empty")
        if len(full) > 1:
            names = ", ".join(name for name, _ in full)
            raise InputError(
                f"{shown}: {len(full)} sheets hold something ({names}): save the one with the "
                "readings as a file of its own, for example as CSV"
            )
        target = self._target(f"{path.stem}.csv", shown)
        with target.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerows([_cell(value) for value in row] for row in full[0][1])
        self.paths.append(target)

    def shown(self, text: str) -> str:
        """Return ``text`` with the files called as the user calls them."""
        for path, name in self._shown.items():
            text = text.replace(path, name)
        return text


def _cell(value: object) -> object:
    if isinstance(value, datetime | time):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def _blocks(stream: object) -> Iterator[bytes]:
    read = stream.read  # type: ignore[attr-defined]
    while block := read(_BLOCK):
        yield block


def _copy(stream: object, target: Path, shown: str) -> None:
    written = 0
    free = shutil.disk_usage(target.parent).free
    with target.open("wb") as out:
        for block in _blocks(stream):
            written += len(block)
            if written > min(_MOST_UNPACKED, free - (64 << 20)):
                raise InputError(f"{shown}: unpacked it is larger than {written >> 20} MB: no room")
            out.write(block)


def _transcode(path: Path, target: Path, encoding: str) -> None:
    decode = codecs.getincrementaldecoder(encoding)("replace").decode
    with path.open("rb") as stream, target.open("w", newline="", encoding="utf-8") as out:
        for number, block in enumerate(_blocks(stream)):
            text = decode(block)
            out.write(text.lstrip("\ufeff") if number == 0 else text)


def unpack(paths: Sequence[Path], scratch: Path) -> Unpacked:
    """Return ``paths`` as plain files; what has to be unpacked goes below ``scratch``."""
    unpacked = Unpacked(scratch)
    for path in paths:
        unpacked.add(path)
    return unpacked
