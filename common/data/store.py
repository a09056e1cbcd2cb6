"""Households as Parquet files, one each, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from common.cadence import HALF_HOUR
from common.data.frame import COLUMNS, EXPORT_PRICE, Household
from common.errors import InputError
from common.files import whole, write_whole
from common.yaml_text import read_yaml

FORMAT_VERSION = 1
_KEY = b"fedwatt"


def make_folder(directory: Path) -> None:
    """Make ``directory`` unless it is there. Raises InputError where that cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: cannot be made: {error.strerror}") from None


def write_household(household: Household, directory: Path) -> Path:
    """Write ``directory/NAME.parquet`` atomically and return its path."""
    make_folder(directory)
    path = directory / f"{household.name}.parquet"
    frame = household.frame
    arrays = {c: pa.array(frame[c].to_numpy(np.float64)) for c in frame.columns}
    index = frame.index
    assert isinstance(index, pd.DatetimeIndex)
    arrays = {
        "timestamp": pa.array(index.as_unit("us").asi8, type=pa.timestamp("us", tz="UTC")),
        **arrays,
        "filled": pa.array(household.filled_rows),
    }
    meta = {
        "version": FORMAT_VERSION,
        "name": household.name,
        "timezone": household.timezone,
        "interval_minutes": household.interval_minutes,
        "resolution_minutes": household.resolution_minutes,
        "phase_minutes": household.phase_minutes,
        "source": household.source,
        "real": household.real,
        "filled_values": household.filled_values,
        "first": index[0].isoformat(),
        **({"doubts": household.doubts} if household.doubts else {}),
    }
    table = pa.table(arrays).replace_schema_metadata({_KEY: json.dumps(meta).encode()})
    try:
        with whole(path, durable=False) as part:
            pq.write_table(table, part, compression="zstd")
    except OSError as error:
        # pyarrow's own message names no file.
        raise OSError(f"{path}: not written: {' '.join(str(error).split())}") from error
    return path


def _open(path: Path) -> tuple[pq.ParquetFile, dict[str, object]]:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        reason = "is a directory" if path.is_dir() else " ".join(str(error).split())[:160]
        raise InputError(f"{path}: not a readable Parquet file: {reason}") from None
    raw = (file.schema_arrow.metadata or {}).get(_KEY)
    if raw is None:
        raise InputError(
            f"{path}: not a household file of fedwatt (import it with 'fedwatt data import')"
        )
    meta = json.loads(raw)
    if meta.get("version") != FORMAT_VERSION:
        raise InputError(f"{path}: written in format version {meta.get('version')}, not 1")
    return file, meta


def _minutes(meta: Mapping[str, object]) -> int:
    """Length of a file's rows; files of older releases hold half hours."""
    return int(str(meta.get("interval_minutes", HALF_HOUR.minutes)))


def is_household_file(path: Path) -> bool:
    """Whether ``path`` is a Parquet file that ``write_household`` made."""
    try:
        return _KEY in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False


def read_span(path: Path) -> tuple[str, str, pd.Timestamp, int]:
    """Return (name, time zone, first time in UTC, number of half hours), reading no data."""
    file, meta = _open(path)
    return (
        str(meta["name"]),
        str(meta["timezone"]),
        pd.Timestamp(str(meta["first"])),
        file.metadata.num_rows * _minutes(meta) // HALF_HOUR.minutes,
    )


def read_household(path: Path) -> Household:
    """Read one household file. Raises InputError that names the file."""
    file, meta = _open(path)
    try:
        table = file.read()
        index = pd.DatetimeIndex(table["timestamp"].to_numpy()).as_unit("us").tz_localize("UTC")
        columns = [*COLUMNS, *([EXPORT_PRICE] if EXPORT_PRICE in table.column_names else [])]
        values = np.column_stack([table[c].to_numpy().astype(np.float64) for c in columns])
        filled = table["filled"].to_numpy().astype(np.bool_)
    except (KeyError, OSError, ValueError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: damaged household file: {error}") from None
    frame = pd.DataFrame(values, index=index.rename("timestamp"), columns=columns)
    try:
        return Household(
            name=str(meta["name"]),
            frame=frame,
            timezone=str(meta["timezone"]),
            resolution_minutes=int(str(meta["resolution_minutes"])),
            phase_minutes=int(str(meta["phase_minutes"])),
            source=str(meta["source"]),
            real=bool(meta["real"]),
            filled_values=int(str(meta["filled_values"])),
            filled_rows=filled,
            interval_minutes=_minutes(meta),
            doubts=_doubts(meta),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _doubts(meta: Mapping[str, object]) -> tuple[str, ...]:
    told = meta.get("doubts")
    return tuple(str(doubt) for doubt in told) if isinstance(told, list) else ()


def read_block(path: Path) -> dict[str, Any]:
    """Read the settings of one household, beside its data; none where there is no such file.

    Raises InputError that names the file.
    """
    if not path.exists():
        return {}
    loaded = read_yaml(path)
    if not isinstance(loaded, dict | None):
        raise InputError(f"{path}: expected sections with keys")
    return loaded or {}


def write_block(block: dict[str, Any], path: Path) -> None:
    """Write the settings of one household, for ``read_block``."""
    write_whole(path, yaml.safe_dump(block, sort_keys=False))


def household_files(directory: Path) -> list[Path]:
    """Return the household files of a folder, sorted by name. Raises InputError if none."""
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder")
    found = sorted(p for p in directory.glob("*.parquet") if not p.name.startswith("."))
    if not found:
        raise InputError(f"{directory}: holds no household files (*.parquet)")
    return found


def read_real(path: Path) -> bool:
    """Whether a household file holds measured readings, reading no data."""
    return bool(_open(path)[1]["real"])
