"""Parquet tables in blocks of rows, with the face of a text table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.arrays import Floats, Ints
from common.data.formats.table import MISSING, Part
from common.errors import InputError


class TypedPart(Part):
    """A block of a Parquet file: columns keep their types."""

    def text(self, column: str) -> pa.Array:
        """Return a column, strings without blanks around them."""
        return super().text(column) if is_text(self.columns[column]) else self.columns[column]

    def numbers(self, column: str, missing: Sequence[str] = MISSING) -> Floats:
        """(n,) float64, NaN where the cell is empty."""
        array = self.columns[column]
        if is_text(array):
            return super().numbers(column, missing)
        try:
            cast = pc.cast(array, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"{self.path}: column {column} holds no numbers") from None
        return np.asarray(cast.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)

    def times(self, column: str, fmt: str | None = None) -> tuple[Ints, bool]:
        """Return (n,) seconds since 1970 and whether the column has a zone."""
        array = self.columns[column]
        if not pa.types.is_timestamp(array.type):
            if is_text(array):
                return super().times(column, fmt)
            raise InputError(f"{self.path}: column {column} holds no timestamps")
        if array.null_count:
            at = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(f"{self.path}: row {self.first_row + at}: {column} is empty")
        ticks = pc.cast(array, pa.timestamp("us", array.type.tz)).cast(pa.int64())
        return np.asarray(ticks.to_numpy() // 1_000_000), array.type.tz is not None


def is_text(array: pa.Array) -> bool:
    """Whether a column holds strings."""
    return bool(pa.types.is_string(array.type) or pa.types.is_large_string(array.type))


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet files do."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def parquet_parts(path: Path) -> tuple[Iterator[Part], list[str]]:
    """Return the blocks of a file and its column names. Raises InputError if it is damaged."""
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a readable Parquet file (truncated?): {text}") from None
    # pandas gives an index without a name this one; a time in it is the time.
    names = [
        "timestamp" if c == "__index_level_0__" and pa.types.is_timestamp(t) else c
        for c, t in zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)
    ]
    return _blocks(path, file, names), names


def _blocks(path: Path, file: pq.ParquetFile, names: Sequence[str]) -> Iterator[Part]:
    row = 1
    for batch in file.iter_batches(batch_size=1 << 17):
        yield TypedPart(path, row, dict(zip(names, batch.columns, strict=True)))
        row += batch.num_rows
