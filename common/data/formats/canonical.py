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

from common.arrays import Ints
from common.data.formats.lcl import by_household
from common.data.formats.parquet import is_parquet, parquet_parts
from common.data.formats.table import Part, header, joined, parts
from common.data.frame import BATTERY_SENSORS
from common.data.readings import (
    CHANNELS,
    Batch,
    Options,
    household_name,
    one_home_a_file,
)
from common.errors import InputError

STAMPS = ("timestamp", "timestamp_utc", "timestamp_local", "time", "datetime")
_HOMES = ("household", "house", "home", "name")
_ALIASES = {
    "consumption": ("consumption", "load", "kwh", "load_kwh", "consumption_kwh", "energy_kwh"),
    "pv": ("pv", "pv_kwh", "solar", "generation_kwh"),
    "price": ("price", "price_per_kwh"),
    "temperature": ("temperature", "temperature_c"),
    "solar_irradiance": ("solar_irradiance", "irradiance", "ghi"),
}
# Name of a column, in small letters -> its channel.
KNOWN = {name: channel for channel, names in _ALIASES.items() for name in names} | {
    channel: channel for channel in CHANNELS
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
        return bool(set(cells[:2]) & set(STAMPS))

    def zone_of(self, path: Path) -> str | None:
        """Return the zone that a Parquet file's own times are given in, UTC aside."""
        if not is_parquet(path):
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
            stamp = _named(found, STAMPS)
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
            for part in blocks if home is None else joined(blocks, home):
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
    if is_parquet(path):
        return parquet_parts(path)
    found = header(path, ",")
    return parts(path, found), found
