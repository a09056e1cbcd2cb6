"""Files of any known format into a folder of canonical household files, all or none."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from common.data.assemble import ABSENT, MAX_GAP_SHARE, Account, GapsError, assemble
from common.data.formats import choose
from common.data.formats.canonical import Canonical
from common.data.formats.dataport import zone_of
from common.data.frame import INTERVAL, Household, check_zone
from common.data.readings import LEVELS, Options
from common.data.spool import Spool
from common.data.store import make_folder, write_household
from common.errors import InputError

Progress = Callable[[str, int, int], None]  # what, done, total (0: unknown)


@dataclass
class Report:
    """What an import did: the account of each household, and who was refused and why."""

    format: str = ""
    rows: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)
    spans: dict[str, tuple[pd.Timestamp, pd.Timestamp, int, int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def _silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def import_files(
    paths: Sequence[Path],
    out: Path,
    *,
    format_name: str | None = None,
    options: Options | None = None,
    max_gap_share: float = MAX_GAP_SHARE,
    price: float = ABSENT["price"],
    context: Path | None = None,
    progress: Progress = _silent,
) -> Report:
    """Import ``paths``, all of one format, and write ``out/NAME.parquet`` per household.

    Memory stays bounded whatever the size of the files. Raises InputError with file and row, in
    which case ``out`` is as it was.
    """
    options = options or Options()
    if not paths:
        raise InputError("nothing to import: name at least one file")
    if options.timezone is not None:
        check_zone(options.timezone)
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file")
    fmt = choose(format_name, paths[0])
    for path in paths:
        if path.is_dir() != fmt.folders:
            kind = "is a directory" if path.is_dir() else "is not a directory"
            raise InputError(f"{path}: {kind}; {fmt.name} wants {fmt.title}")
    zone = options.timezone or zone_of(paths[0]) or fmt.zone
    levels = None if context is None else read_context(context, options)
    report = Report(format=fmt.name)
    existed = out.is_dir()
    make_folder(out)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".import-") as scratch:
            spool = Spool(Path(scratch))
            estimate = sum(_rows(path) for path in paths)
            for batch in fmt.read(paths, options):
                spool.add(batch)
                report.rows += len(batch.value)
                progress("reading", report.rows, max(estimate, report.rows))
            names = spool.names()
            if not names:
                raise InputError(f"{paths[0]}: holds no readings")
            for name in names:
                if (out / f"{name}.parquet").exists():
                    raise InputError(f"{out}: already holds {name}.parquet")
            ready = Path(scratch) / "ready"
            for done, (name, records) in enumerate(spool, 1):
                try:
                    home, account = assemble(
                        name,
                        records,
                        spool.paths,
                        timezone=zone,
                        source=f"{fmt.title}: {spool.paths[0].name}",
                        repeats=fmt.repeats,
                        max_gap_share=max_gap_share,
                        context=levels,
                        price=price,
                    )
                except GapsError as error:
                    report.refused[name] = str(error)
                    continue
                write_household(home, ready)
                report.accounts[name] = account
                report.spans[name] = _span(home)
                progress("writing", done, len(names))
            if not report.accounts:
                raise InputError(next(iter(report.refused.values())))
            for path in sorted(ready.iterdir()):
                path.replace(out / path.name)
    except BaseException:
        if not existed:
            shutil.rmtree(out, ignore_errors=True)
        raise
    return report


def _span(home: Household) -> tuple[pd.Timestamp, pd.Timestamp, int, int]:
    index = home.frame.index
    return index[0], index[-1] + INTERVAL, home.resolution_minutes, home.filled_values


def _rows(path: Path) -> int:
    """Estimate the rows of a text file from the length of its first lines; 0 if it has none."""
    if path.is_dir():
        return 0
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    lines = head.count(b"\n")
    return 0 if lines == 0 else int(path.stat().st_size / (len(head) / lines))


def read_context(path: Path, options: Options) -> Mapping[str, "pd.Series[float]"]:
    """Read half-hourly or hourly temperature, irradiance and price shared by the households.

    A table with ``timestamp`` and any of ``temperature``, ``solar_irradiance``, ``price``.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    found: dict[str, list[pd.Series[float]]] = {}
    for batch in Canonical().read([path], options):
        if batch.channel not in LEVELS:
            raise InputError(f"{path}: column {batch.channel} is neither weather nor price")
        stamps = pd.DatetimeIndex(batch.start.astype("datetime64[s]"))
        if batch.wall_clock and options.timezone:
            stamps = stamps.tz_localize(options.timezone, ambiguous=True, nonexistent="NaT")
        else:
            stamps = stamps.tz_localize("UTC")
        series = pd.Series(batch.value, index=stamps.tz_convert("UTC").as_unit("us"))
        found.setdefault(batch.channel, []).append(series[series.index.notna()])
    joined = {}
    for channel, pieces in found.items():
        series = pd.concat(pieces).dropna()
        if series.index.has_duplicates or not series.index.is_monotonic_increasing:
            raise InputError(f"{path}: {channel}: duplicate or unordered timestamps")
        joined[channel] = series.resample(INTERVAL).mean().ffill(limit=1)
    return joined
