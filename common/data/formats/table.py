"""Text tables read in blocks: strings first, so that every complaint can name its row."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from common.errors import InputError

_BLOCK_BYTES = 4 << 20
_JOINED_BYTES = 48 << 20
_ROWS_A_HOME = 1000  # of a block: with fewer, what a home costs outweighs its rows
# What programs write where there is no value.
MISSING = (
    *("", "Null", "null", "NULL", "NaN", "nan", "?", "unavailable", "unknown"),
    *("NA", "N/A", "n/a", "na", "#N/A", "None", "none", "<NA>", "--", "-"),
)


@dataclass(frozen=True)
class Part:
    """Some consecutive rows of a table, every column as strings."""

    path: Path
    first_row: int  # line number in the file of the first row
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def row(self) -> NDArray[np.int64]:
        """(n,) line numbers in the file, counted from 1."""
        return np.arange(self.first_row, self.first_row + len(self), dtype=np.int64)

    def fail(self, index: int, column: str, what: str) -> InputError:
        """Return the error that names a cell."""
        text = self.columns[column][index].as_py()
        return InputError(
            f"{self.path}: row {self.first_row + index}: {column.strip()} = {str(text)[:60]!r}: "
            f"{what}"
        )

    def text(self, column: str) -> pa.Array:
        """Return a column without surrounding blanks."""
        return pc.utf8_trim_whitespace(self.columns[column])

    def numbers(self, column: str, missing: Sequence[str] = MISSING) -> NDArray[np.float64]:
        """(n,) float64, NaN where the cell is empty or one of ``missing``."""
        text = self.text(column)
        text = pc.if_else(pc.is_in(text, value_set=pa.array(missing)), None, text)
        try:
            values = pc.cast(text, pa.float64())
        except pa.ArrowInvalid:
            parsed = pd.to_numeric(text.to_pandas(), errors="coerce").to_numpy(np.float64)
            wrong = np.isnan(parsed) & text.is_valid().to_numpy(zero_copy_only=False)
            at = int(np.argmax(wrong))
            cell = str(text[at].as_py())
            comma = re.fullmatch(r"-?[\d.]*\d,\d+|-?[\d,]*\d\.\d+", cell) is not None
            hint = ": --format table with --decimal says what comma and point mean" if comma else ""
            raise self.fail(at, column, f"not a number{hint}") from None
        numbers = values.fill_null(np.nan).to_numpy(zero_copy_only=False)
        infinite = np.isinf(numbers)
        if infinite.any():
            raise self.fail(int(np.argmax(infinite)), column, "not a number")
        return np.asarray(numbers, dtype=np.float64)

    def times(self, column: str, fmt: str | None = None) -> tuple[NDArray[np.int64], bool]:
        """Return (n,) seconds since 1970 and whether the stamps carried an offset.

        ``fmt``: a strptime format; None: ISO 8601. Without an offset the seconds are those of the
        wall clock.
        """
        text = self.text(column)
        if fmt is None and len(text) and str(text[0].as_py()).endswith(("UTC", "GMT")):
            text = pc.replace_substring_regex(text, r"\s*(UTC|GMT)$", "Z")
        if fmt is not None:
            zoned = "%z" in fmt
            stamps = pd.to_datetime(text.to_pandas(), format=fmt, errors="coerce", utc=zoned)
            wrong = stamps.isna().to_numpy()
            if wrong.any():
                raise self.fail(int(np.argmax(wrong)), column, f"not a time like {fmt}")
            naive = stamps.dt.tz_localize(None) if zoned else stamps
            return naive.to_numpy("datetime64[s]").astype(np.int64), zoned
        for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="UTC")):
            try:
                stamps = pc.cast(text, kind)
            except pa.ArrowInvalid:
                continue
            if stamps.null_count:
                break
            ticks = stamps.cast(pa.int64()).to_numpy()
            return np.asarray(ticks // 1_000_000_000), kind.tz is not None
        raise self._time_error(column, text)

    def _time_error(self, column: str, text: pa.Array) -> InputError:
        zoned = pc.match_substring_regex(text, r"\d(Z|[+-]\d\d(:?\d\d)?)$").to_numpy(False)
        if zoned.any() and not zoned.all():
            odd = int(np.argmax(zoned != zoned[0]))
            if _readable(text[odd : odd + 1], zoned[odd]):
                return self.fail(odd, column, "some stamps carry an offset and others none")
        low, high = 0, len(text)  # rows before low are readable, those up to high are not all
        while high - low > 1:
            middle = (low + high) // 2
            if _readable(text[low:middle], zoned[0]):
                low = middle
            else:
                high = middle
        return self.fail(
            low,
            column,
            "not a time: ISO 8601 is read, for example 2025-06-01T00:30:00Z; other dates with "
            "--format table",
        )


def joined(blocks: Iterator[Part], home: str) -> Iterator[Part]:
    """Yield ``blocks``, joined where homes take turns so that each has but a few rows in one.

    ``home``: the column that names the household of a row.
    """
    held: list[Part] = []
    for block in blocks:
        held.append(block)
        few = len(block) < _ROWS_A_HOME * len(pc.unique(block.columns[home]))
        size = sum(c.nbytes for part in held for c in part.columns.values())
        if not few or size > _JOINED_BYTES:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(held: Sequence[Part]) -> Part:
    if len(held) == 1:
        return held[0]
    columns = {
        name: pa.concat_arrays([part.columns[name] for part in held]) for name in held[0].columns
    }
    return type(held[0])(held[0].path, held[0].first_row, columns)


def _readable(text: pa.Array, zoned: bool) -> bool:
    try:
        pc.cast(text, pa.timestamp("ns", tz="UTC" if zoned else None))
    except pa.ArrowInvalid:
        return False
    return True


def header(path: Path, separator: str, skip: int = 0, encoding: str = "utf-8-sig") -> list[str]:
    """Return the column names of a table, exactly as written."""
    try:
        with pa.input_stream(str(path)) as stream:
            text = stream.read(1 << 20).decode(encoding, errors="replace")
    except OSError as error:
        reason = "is a directory" if path.is_dir() else error.strerror or str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from None
    lines = text.splitlines()
    if len(lines) <= skip:
        raise InputError(f"{path}: the file is empty")
    return next(csv.reader([lines[skip]], delimiter=separator), [""])


def parts(
    path: Path,
    needs: Sequence[str],
    *,
    separator: str = ",",
    skip: int = 0,
    names: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    encoding: str = "utf-8-sig",
) -> Iterator[Part]:
    """Yield the table in blocks of a few megabytes, keeping ``needs`` and ``optional`` columns.

    ``skip`` lines come before the header; ``names`` stand in for a header the file lacks.
    Raises InputError for a missing column, a row of another length or bytes that are no text.
    """
    found = list(names) if names else header(path, separator, skip, encoding)
    missing = [name for name in needs if name not in found]
    if missing:
        hint = f" (one column {found[0][:60]!r}: another separator?)" if len(found) == 1 else ""
        raise InputError(f"{path}: no column {missing[0].strip()!r} in the header{hint}")
    keep = [*needs, *(name for name in optional if name in found)]
    twice = next((name for name in keep if found.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{path}: column {twice!r} stands in the header {found.count(twice)} times: rename the "
            "others, so that it is said which one counts"
        )
    before = skip + (0 if names else 1)
    short: list[tuple[int, int]] = []

    def refuse(bad: pacsv.InvalidRow) -> str:
        short.append((bad.number or 0, bad.actual_columns))
        return "error"

    try:
        stream = pacsv.open_csv(
            path,
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                skip_rows=before,
                column_names=found,
                encoding="utf8" if encoding.startswith("utf-8") else encoding,
            ),
            parse_options=pacsv.ParseOptions(delimiter=separator, invalid_row_handler=refuse),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(found, pa.string()),
                include_columns=keep,
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )
        row = before + 1
        for batch in stream:
            if batch.num_rows == 0:
                continue
            yield Part(path, row, dict(zip(keep, batch.columns, strict=True)))
            row += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        if short:
            number, actual = short[0]
            raise InputError(
                f"{path}: row {number}: {actual} columns instead of {len(found)} "
                "(truncated file or another separator?)"
            ) from None
        if "Empty CSV" in str(error):
            raise InputError(f"{path}: no rows after the header") from None
        raise InputError(f"{path}: {' '.join(str(error).split())[:160]}") from None
