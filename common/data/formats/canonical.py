"""fedwatt's own table formats, CSV or Parquet.

long: ``household,timestamp,consumption[,pv,...]``, any canonical columns; wide: ``timestamp`` and a
column of consumption per household; single: ``timestamp`` and canonical columns of one home.
Energy in kWh per interval, stamps are interval starts. A stamp without offset needs ``--clock``
or ``--timezone``, unless its column is named ``timestamp_utc``. Columns of unknown names are
homes only where the names look like numbers of homes, or with ``--wide``.
"""

import re
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
from common.data.readings import (
    CHANNELS,
    Batch,
    Options,
    household_name,
    one_home_a_file,
)
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
# Words that name a quantity, so that a column with one of them is no home.
_QUANTITIES = frozenset(
    [
        "import",
        "export",
        "grid",
        "pv",
        "solar",
        "battery",
        "power",
        "energy",
        "usage",
        "use",
        "load",
        "consumption",
        "consumed",
        "produced",
        "production",
        "generation",
        "generated",
        "return",
        "returned",
        "feed",
        "feedin",
        "charge",
        "discharge",
        "register",
        "meter",
        "reading",
        "value",
        "total",
        "sum",
        "kwh",
        "wh",
        "mwh",
        "kw",
        "w",
        "mw",
        "watt",
        "watts",
        "price",
        "cost",
        "rate",
        "temp",
        "temperature",
        "channel",
        "ch",
        "phase",
        "tariff",
        "tarif",
        "tarief",
        "ev",
        "car",
        "charger",
        "heat",
        "pump",
        "hp",
        "verbrauch",
        "bezug",
        "einspeisung",
        "erzeugung",
        "netz",
        "strom",
        "leistung",
        "zaehler",
        "verbruik",
        "levering",
        "opwek",
        "conso",
        "consommation",
        "energie",
        "puissance",
        "consumo",
        "energia",
        "autoconsumo",
        "vertida",
        "potencia",
        "sub",
        "submeter",
        "circuit",
        "sensor",
        "device",
        "inverter",
        "import",
        "export",
        "in",
        "out",
    ]
)
_UNITS = ("kwh", "mwh", "watt", "watts")
_TABLE = "other tables are read with --format table; 'fedwatt data guess FILE' proposes how"


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
    zone = None
    clock = None
    reads: frozenset[str] = frozenset({"clock", "name", "each", "wide"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """A Parquet file, or a header with a timestamp first or right after the household."""
        if head.startswith("PAR1"):
            return True
        cells = head.splitlines()[0].strip().lower().split(",") if head.strip() else []
        return bool(set(cells[:2]) & set(_STAMPS))

    def zone_of(self, path: Path) -> str | None:
        """Return the zone that a Parquet file's own times are given in, UTC aside."""
        with path.open("rb") as stream:
            if stream.read(4) != b"PAR1":
                return None
        try:
            types = pq.read_schema(path).types
        except (OSError, pa.ArrowInvalid):
            return None  # reading it will say why
        zones = {t.tz for t in types if pa.types.is_timestamp(t) and t.tz and "/" in t.tz}
        return str(zones.pop()) if len(zones) == 1 else None

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per household, channel and block."""
        for path in paths:
            blocks, found = _open(path)
            stamp = _named(found, _STAMPS)
            if stamp is None:
                raise InputError(_no_stamp(path, found))
            home = _named(found, _HOMES)
            channels = _channel_columns(found, path)
            used = {stamp, home, *channels.values()}
            unknown = [c for c in found if c not in used and c.lower() not in _IGNORED]
            wide = home is None and not channels
            if wide:
                _check_homes(path, unknown, options)
            elif unknown and unknown != [""]:
                raise InputError(
                    f"{path}: unknown column {next(c for c in unknown if c)!r} in the header: "
                    f"known: {', '.join(CHANNELS)}; {_TABLE}"
                )
            elif not channels:
                raise InputError(f"{path}: no column 'consumption' in the header")
            _check_name(path, paths, options, one_home=not wide and home is None)
            for part in blocks:
                _check_unnamed(part)
                start, zoned = part.times(stamp)
                wall = not zoned and not stamp.lower().endswith("_utc")
                if wall and not (options.timezone or options.clock):
                    raise InputError(
                        f"{path}: row {part.first_row}: {stamp} has no offset: name the clock "
                        "with --timezone (of the homes) or --clock, for example UTC, Europe/London "
                        "or +10:00"
                    )
                homes = unknown if wide else []
                for batch in _batches(part, start, home, channels, homes, path, options):
                    yield replace(batch, wall_clock=True) if wall else batch


def _batches(
    part: Part,
    start: Ints,
    home: str | None,
    channels: Mapping[str, str],
    homes: Sequence[str],
    path: Path,
    options: Options,
) -> Iterator[Batch]:
    """``channels``: {channel: column}; empty for a wide table, whose columns are ``homes``."""
    for channel, column in channels.items():
        value = part.numbers(column)
        if home is not None:
            yield from by_household(part, home, start, value, channel=channel, seconds=0)
        else:
            name = household_name(path, options)
            yield Batch(name, channel, start, np.zeros_like(start), value, part.row, path)
    for column in homes:
        value = part.numbers(column)
        yield Batch(column, "consumption", start, np.zeros_like(start), value, part.row, path)


def _no_stamp(path: Path, found: Sequence[str]) -> str:
    """Say what is wrong with a header that has no time."""
    separator = next((s for s in (";", "\t", "|") if len(found) == 1 and s in found[0]), None)
    seen = (
        f": one column, separated by {separator!r}?"
        if separator
        else f" (it has {', '.join(map(repr, found))[:120]})"
    )
    return f"{path}: no column 'timestamp' in the header{seen}; {_TABLE}"


def _check_homes(path: Path, columns: Sequence[str], options: Options) -> None:
    """Refuse to take columns for homes unless their names say so, or the user does."""
    if not columns:
        raise InputError(f"{path}: no column of readings in the header")
    if options.wide:
        return
    doubtful = [c for c in columns if not _looks_like_a_home(c)]
    if doubtful:
        raise InputError(
            f"{path}: is column {doubtful[0]!r} a home? If every column is one, say --wide; "
            f"{_TABLE}"
        )


def _looks_like_a_home(column: str) -> bool:
    words = re.findall(r"[a-z]+", column.lower())
    if any(w in _QUANTITIES or w.endswith(_UNITS) for w in words):
        return False
    return re.fullmatch(r"[A-KM-OQ-SU-Z]|[A-Za-z][A-Za-z_-]*\d+[A-Za-z]?", column) is not None and (
        re.fullmatch(r"[TLP]\d", column, re.IGNORECASE) is None  # tariffs, phases
    )


def _check_name(path: Path, paths: Sequence[Path], options: Options, *, one_home: bool) -> None:
    if one_home:
        one_home_a_file(paths, options)
    elif options.name or options.each:
        flag = "--name" if options.name else "--each"
        raise InputError(f"{path}: {flag}: the table names its households itself")


def _check_unnamed(part: Part) -> None:
    """Drop a column without name that is empty, as a separator at the end of each line makes."""
    unnamed = part.columns.pop("", None)
    if (
        unnamed is not None
        and pc.any(pc.not_equal(pc.utf8_length(pc.cast(unnamed, pa.string())), 0)).as_py()
    ):
        raise InputError(f"{part.path}: a column without name holds something: name it")


def _named(found: Sequence[str], names: Sequence[str]) -> str | None:
    return next((column for column in found if column.strip().lower() in names), None)


def _channel_columns(found: Sequence[str], path: Path) -> dict[str, str]:
    """Return {channel: column} for the columns whose names are known."""
    known = {channel: (channel,) for channel in CHANNELS} | _ALIASES
    columns = {}
    for channel, names in known.items():
        mine = [column for column in found if column.strip().lower() in names]
        if len(mine) > 1:
            raise InputError(
                f"{path}: columns {mine[0]!r} and {mine[1]!r} are both {channel}: {_TABLE}"
            )
        if mine:
            columns[channel] = mine[0]
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
    # pandas gives an index without a name this one; a time in it is the time.
    names = [
        "timestamp" if c == "__index_level_0__" and pa.types.is_timestamp(t) else c
        for c, t in zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)
    ]
    return _blocks(path, file, names), names


def _blocks(path: Path, file: pq.ParquetFile, names: Sequence[str]) -> Iterator[Part]:
    row = 1
    for batch in file.iter_batches(batch_size=1 << 17):
        yield _Columns(path, row, dict(zip(names, batch.columns, strict=True)))
        row += batch.num_rows
