"""fedwatt's own table formats, CSV or Parquet.

long: ``household,timestamp,consumption[,pv,...]``, any canonical columns; wide: ``timestamp`` and a
column of consumption per household; single: ``timestamp`` and canonical columns of one home.
Energy in kWh per interval, stamps are interval starts. A stamp without offset needs
``--timezone``, unless its column is named ``timestamp_utc``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.arrays import Floats, Ints
from common.data.formats.lcl import by_household
from common.data.formats.table import Part, header, parts
from common.data.frame import BATTERY_SENSORS
from common.data.readings import CHANNELS, Batch, Options, household_name
from common.errors import InputError

_STAMPS = ("timestamp", "timestamp_utc", "timestamp_local", "time", "datetime")
_HOMES = ("household", "house", "home", "name")
_ALIASES = {
    "consumption": ("consumption", "load", "kwh", "load_kwh", "consumption_kwh", "energy_kwh"),
    "pv": ("pv", "pv_kwh", "solar", "generation_kwh"),
    "price": ("price", "price_per_kwh"),
    "temperature": ("temperature", "temperature_c"),
    "solar_irradiance": ("solar_irradiance", "irradiance", "ghi"),
}
_IGNORED = (*BATTERY_SENSORS, "filled")


class _Columns(Part):
    """A block of a Parquet file: columns keep their types."""

    def text(self, column: str) -> pa.Array:
        return super().text(column) if _is_text(self.columns[column]) else self.columns[column]

    def numbers(self, column: str, missing: Sequence[str] = ()) -> Floats:
        array = self.columns[column]
        if _is_text(array):
            return super().numbers(column)
        try:
            cast = pc.cast(array, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(f"{self.path}: column {column} holds no numbers") from None
        return np.asarray(cast.fill_null(np.nan).to_numpy(zero_copy_only=False), np.float64)

    def times(self, column: str, fmt: str | None = None) -> tuple[Ints, bool]:
        array = self.columns[column]
        if not pa.types.is_timestamp(array.type):
            if _is_text(array):
                return super().times(column)
            raise InputError(f"{self.path}: column {column} holds no timestamps")
        if array.null_count:
            at = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
            raise InputError(f"{self.path}: row {self.first_row + at}: {column} is empty")
        ticks = pc.cast(array, pa.timestamp("us", array.type.tz)).cast(pa.int64())
        return np.asarray(ticks.to_numpy() // 1_000_000), array.type.tz is not None


def _is_text(array: pa.Array) -> bool:
    return bool(pa.types.is_string(array.type) or pa.types.is_large_string(array.type))


class Canonical:
    """Long, wide and single tables."""

    name = "canonical"
    title = "canonical CSV or Parquet, long or wide"
    zone = "UTC"
    repeats = False
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """A Parquet file, or a header with a timestamp first or right after the household."""
        if head.startswith("PAR1"):
            return True
        cells = head.splitlines()[0].strip().lower().split(",") if head.strip() else []
        return bool(set(cells[:2]) & set(_STAMPS))

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per household, channel and block."""
        for path in paths:
            blocks, found = _open(path)
            stamp = _named(found, _STAMPS)
            if stamp is None:
                raise InputError(f"{path}: no column 'timestamp' in the header")
            home = _named(found, _HOMES)
            channels = _channel_columns(found)
            wide = home is None and not channels
            used = {stamp, home, *channels.values()}
            unknown = [c for c in found if c not in used and c.lower() not in _IGNORED]
            if unknown and not wide:
                raise InputError(f"{path}: unknown column {unknown[0]!r} in the header")
            if not channels and not wide:
                raise InputError(f"{path}: no column 'consumption' in the header")
            for part in blocks:
                start, zoned = part.times(stamp)
                wall = not zoned and not stamp.lower().endswith("_utc")
                if wall and not options.timezone:
                    raise InputError(
                        f"{path}: row {part.first_row}: {stamp} has no offset: "
                        "name the clock with --timezone, for example UTC or Europe/London"
                    )
                for batch in _batches(part, start, home, channels, path, options):
                    yield replace(batch, wall_clock=True) if wall else batch


def _batches(
    part: Part,
    start: Ints,
    home: str | None,
    channels: Mapping[str, str],
    path: Path,
    options: Options,
) -> Iterator[Batch]:
    """``channels``: {channel: column}; empty for a wide table, whose columns are households."""
    for channel, column in channels.items():
        value = part.numbers(column)
        if home is not None:
            yield from by_household(part, home, start, value, channel=channel, seconds=0)
        else:
            name = household_name(path, options)
            yield Batch(name, channel, start, np.zeros_like(start), value, part.row, path)
    if not channels:
        for column in list(part.columns)[1:]:
            value = part.numbers(column)
            yield Batch(column, "consumption", start, np.zeros_like(start), value, part.row, path)


def _named(found: Sequence[str], names: Sequence[str]) -> str | None:
    return next((column for column in found if column.strip().lower() in names), None)


def _channel_columns(found: Sequence[str]) -> dict[str, str]:
    """Return {channel: column} for the columns whose names are known."""
    known = {channel: (channel,) for channel in CHANNELS} | _ALIASES
    columns = {}
    for channel, names in known.items():
        column = _named(found, names)
        if column is not None:
            columns[channel] = column
    return columns


def _open(path: Path) -> tuple[Iterator[Part], list[str]]:
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"PAR1":
        found = header(path, ",")
        return parts(path, found), found
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        text = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a readable Parquet file (truncated?): {text}") from None
    return _blocks(path, file), list(file.schema_arrow.names)


def _blocks(path: Path, file: pq.ParquetFile) -> Iterator[Part]:
    row = 1
    for batch in file.iter_batches(batch_size=1 << 17):
        yield _Columns(path, row, dict(zip(batch.schema.names, batch.columns, strict=True)))
        row += batch.num_rows
