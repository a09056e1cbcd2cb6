"""Weather and prices that several households share: a table beside their meter files.

Their own layout is fedwatt's; those of publishers are mappings, as those of meters are.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Ints
from common.cadence import HALF_HOUR, Cadence
from common.data.formats.canonical import KNOWN, STAMPS, Canonical
from common.data.formats.dialect import dialect_of
from common.data.formats.mapped import Table
from common.data.formats.mapping import load_mapping, shipped
from common.data.formats.parquet import is_parquet
from common.data.frame import PRICES
from common.data.ordering import Account, Source, order
from common.data.prices import check_prices
from common.data.readings import CHANNELS, LEVELS, Options
from common.data.resample import spread
from common.data.spool import Spool
from common.data.unpack import unpack
from common.errors import InputError

Levels = Mapping[str, "pd.Series[float]"]


def read_context(
    path: Path,
    options: Options,
    scratch: Path,
    mapping: str | None = None,
    cadence: Cadence = HALF_HOUR,
) -> tuple[Levels, list[str]]:
    """Read temperature, irradiance and prices shared by the households, by their rows, in UTC.

    A table with ``timestamp`` and any of LEVELS, one in a publisher's layout, or one that
    ``mapping`` (a file, or the name of one that ships) describes; in any order and step. Every
    value holds for its own step, and what the table lacks is nan. Returns what is to be said of it
    as well. ``scratch``: a folder to unpack into. Raises InputError with file and row.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    plain = unpack([path], scratch)
    if len(plain.paths) > 1:
        raise InputError(
            f"{path}: holds {len(plain.paths)} files: the one with the prices is wanted"
        )
    try:
        return _read(plain.paths[0], options, mapping, cadence)
    except InputError as error:
        raise InputError(plain.shown(str(error))) from None


def _read(
    path: Path, options: Options, mapping: str | None, cadence: Cadence
) -> tuple[Levels, list[str]]:
    fmt = _layout(path, mapping)
    by_area = isinstance(fmt, Table) and fmt.mapping().home is not None
    own = Options(
        timezone=options.timezone, clock=options.clock, name=None if by_area else "context"
    )
    spool = Spool(path.parent)  # a context fits into memory: nothing is written
    for batch in fmt.read([path], own):
        if batch.channel not in LEVELS:
            raise InputError(f"{path}: column {batch.channel} is neither weather nor price")
        if batch.channel in PRICES:
            given = ~np.isnan(batch.value)
            rows, channel = batch.row[given], batch.channel
            check_prices(batch.value[given], partial(_place, path, rows, channel))
        spool.add(batch)
    names = spool.names()
    if len(names) > 1:
        raise InputError(
            f"{path}: holds values of {len(names)} areas ({', '.join(names)[:80]}): keep the rows "
            "of one"
        )
    if not names:
        raise InputError(f"{path}: holds no readings")
    records = spool.readings(names[0])
    clock = fmt.clock or options.clock or options.timezone or "UTC"
    joined = {}
    for code in np.unique(records["channel"]).tolist():
        level = order(
            Source("context", spool.paths),
            CHANNELS[code],
            records[records["channel"] == code],
            clock=clock,
            allow_resets=False,
            account=Account(),
        )
        if level is None:
            continue
        grid = spread(level.start, level.seconds, level.value * level.seconds, cadence.seconds)
        index = pd.date_range(
            pd.Timestamp(grid.first * cadence.seconds, unit="s", tz="UTC"),
            periods=len(grid.total),
            freq=cadence.step,
            unit="us",
        )
        mean = np.where(grid.covered > 0, grid.total / np.maximum(grid.covered, 1.0), np.nan)
        joined[CHANNELS[code]] = pd.Series(mean, index=index)
    said = list(getattr(fmt, "said", []))
    if isinstance(fmt, Table) and fmt.mapping().title:
        said.insert(0, f"read as {fmt.title}")
    return joined, [f"{path.name}: {line}" for line in said]


def _layout(path: Path, mapping: str | None) -> Canonical | Table:
    """Return how a table is read. Raises InputError where its header says nothing of it."""
    if mapping is not None:
        return Table("context", load_mapping(mapping, "--context-mapping", "prices"))
    if is_parquet(path):
        return Canonical()
    for name, known in shipped("prices").items():
        table = Table(name, known)
        if table.recognises(path, ""):
            return table
    found = dialect_of(path)
    names = [name.lower() for name in found.names]
    levels = any(KNOWN.get(name) in LEVELS for name in names)
    if not (set(names) & set(STAMPS) and levels):
        raise InputError(
            f"{path}: a context has a column 'timestamp' and some of {', '.join(LEVELS)}; its "
            f"header has {', '.join(map(repr, found.names))[:120]}: rename them, or describe the "
            f"table with --context-mapping FILE (shipped: {', '.join(shipped('prices'))})"
        )
    return Canonical() if found.separator == "," and found.skip == 0 else Table()


def _place(path: Path, rows: Ints, channel: str, at: int) -> str:
    return f"{path}: row {rows[at]}: {channel}"
