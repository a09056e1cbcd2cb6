"""Files of any known format into a folder of canonical household files, all or none."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.cadence import HALF_HOUR, Cadence
from common.data import store
from common.data.assemble import ABSENT, MAX_GAP_SHARE, SPANS, Rules, UnusableError, assemble
from common.data.context import read_context
from common.data.formats import choose
from common.data.formats.mapped import Table
from common.data.formats.mapping import dump_mapping
from common.data.frame import Household, check_zone
from common.data.ordering import Account
from common.data.prices import check_prices
from common.data.quality import doubts_of
from common.data.readings import FLAGS, Format, Options
from common.data.resample import clock_zone, fixed_zone
from common.data.spool import Spool
from common.data.store import make_folder, write_household
from common.data.unpack import unpack
from common.errors import InputError

Progress = Callable[[str, int, int], None]  # what, done, total (0: unknown)


@dataclass
class Report:
    """What an import did: the account of each household, and who was refused and why."""

    format: str = ""
    rows: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)
    spans: dict[str, tuple[pd.Timestamp, pd.Timestamp, int, int]] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    mapping: str = ""  # how a table was read, as YAML; "" for other formats


def _silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def import_files(
    paths: Sequence[Path],
    out: Path,
    *,
    format_name: str | None = None,
    options: Options | None = None,
    max_gap_share: float = MAX_GAP_SHARE,
    price: float | None = None,
    context: Path | None = None,
    context_mapping: str | None = None,
    beside: Sequence[Path] = (),
    span: str | None = None,
    strict: bool = False,
    cadence: Cadence = HALF_HOUR,
    progress: Progress = _silent,
) -> Report:
    """Import ``paths``, all of one format, and write ``out/NAME.parquet`` per household.

    ``span``: what to do where the channels of a home do not begin and end together, one of SPANS;
    None: refuse to cut much. ``context_mapping``: how a context of another layout is read, as
    ``read_context`` has it. ``beside``: files of other formats, each recognised by its header, that
    belong to the same one home. ``strict``: doubts are errors. ``cadence``: of the rows to make.
    Memory stays bounded whatever the size of the files. Raises InputError with file and row, in
    which case ``out`` is as it was.
    """
    options = options or Options()
    _check(paths, beside, options, price, span)
    if context_mapping is not None and context is None:
        raise InputError("--context-mapping: says how a --context is read, and there is none")
    existed = out.is_dir()
    make_folder(out)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".import-") as scratch:
            unpacked = unpack(paths, Path(scratch))
            count = len(unpacked.paths)
            for path in beside:
                unpacked.add(path)
            try:
                return _import(
                    unpacked.paths[:count],
                    unpacked.paths[count:],
                    out,
                    Path(scratch),
                    format_name=format_name,
                    options=options,
                    rules=Rules(
                        max_gap_share=max_gap_share,
                        span=span,
                        price=ABSENT["price"] if price is None else price,
                        cadence=cadence,
                    ),
                    priced=price is not None,
                    context=context,
                    context_mapping=context_mapping,
                    strict=strict,
                    progress=progress,
                )
            except InputError as error:
                raise InputError(unpacked.shown(str(error))) from None
    except BaseException:
        if not existed:
            shutil.rmtree(out, ignore_errors=True)
        raise


def _check(
    paths: Sequence[Path],
    beside: Sequence[Path],
    options: Options,
    price: float | None,
    span: str | None,
) -> None:
    if not paths:
        raise InputError("nothing to import: name at least one file")
    if options.timezone is not None:
        check_zone(options.timezone)
    if options.clock is not None:
        clock_zone(options.clock)
    if options.name and options.each:
        raise InputError("--name and --each: one home, or one of each file?")
    if span is not None and span not in SPANS:
        raise InputError(f"--span {span!r}: known: {', '.join(SPANS)}")
    if price is not None:
        check_prices(np.array([price]), lambda _: "--price")
    for path in (*paths, *beside):
        if not path.exists():
            raise InputError(f"{path}: no such file")


def _check_options(fmt: Format, options: Options) -> None:
    """Refuse an option that the format would not read."""
    for name, flag in FLAGS.items():
        if getattr(options, name) not in (None, False) and name not in fmt.reads:
            if name == "roles" and not options.roles:
                continue
            usable = sorted({FLAGS[n] for n in fmt.reads})
            raise InputError(
                f"{flag} is not an option of --format {fmt.name} ({fmt.title}); it has --timezone"
                f"{''.join(', ' + u for u in usable)}"
            )


def _check_folders(fmt: Format, paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir() != fmt.folders:
            kind = "is a directory" if path.is_dir() else "is not a directory"
            raise InputError(f"{path}: {kind}; {fmt.name} wants {fmt.title}")


def _import(
    paths: Sequence[Path],
    beside: Sequence[Path],
    out: Path,
    scratch: Path,
    *,
    format_name: str | None,
    options: Options,
    rules: Rules,
    priced: bool,
    context: Path | None,
    context_mapping: str | None,
    strict: bool,
    progress: Progress,
) -> Report:
    if format_name is None and all(p.is_file() and store.is_household_file(p) for p in paths):
        if beside:
            raise InputError(f"--beside {beside[0]}: {paths[0]} is a household file already")
        return _again(paths, out, scratch, options, priced or context is not None)
    fmt = choose(format_name, paths[0], options)
    _check_folders(fmt, paths)
    _check_options(fmt, options)
    report = Report(format=fmt.name)
    if isinstance(fmt, Table):
        report.mapping = dump_mapping(fmt.mapping())
    zone = _zone(fmt, paths, options, report)
    rules = replace(
        rules,
        timezone=zone,
        clock=options.clock or fmt.clock or options.timezone or fmt.zone or "UTC",
        allow_resets=options.allow_resets,
    )
    levels = None
    if context is not None:
        unpacked = scratch / "context"
        unpacked.mkdir()
        levels, said = read_context(context, options, unpacked, context_mapping, rules.cadence)
        report.notes += said
    spool = Spool(scratch)
    estimate = sum(_rows(path) for path in paths)
    for batch in fmt.read(paths, options):
        spool.add(batch)
        report.rows += len(batch.value)
        progress("reading", report.rows, max(estimate, report.rows))
    report.notes += getattr(fmt, "said", [])
    if beside:
        clocks = _read_beside(beside, spool, options, report)
        rules = replace(rules, clocks=clocks)
    names = spool.names()
    if not names:
        raise InputError(f"{paths[0]}: holds no readings")
    _free(out, names)
    ready = scratch / "ready"
    for done, (name, records) in enumerate(spool, 1):
        try:
            home, account = assemble(
                name,
                records,
                spool.paths,
                rules=rules,
                columns=spool.series,
                source=f"{fmt.title}: {spool.paths[0].name}",
                context=levels,
            )
        except UnusableError as error:
            report.refused[name] = str(error)
            continue
        account.doubts += getattr(fmt, "doubts", [])
        _add(report, home, account, rules, strict)
        write_household(home.with_doubts(account.doubts), ready)
        progress("writing", done, len(names))
    if not report.accounts:
        raise InputError(next(iter(report.refused.values())))
    _publish(ready, out)
    return report


def _read_beside(
    paths: Sequence[Path], spool: Spool, options: Options, report: Report
) -> dict[str, str]:
    """Add what other files say of the same home; return the clock of each of their channels."""
    homes = spool.names()
    if len(homes) != 1:
        raise InputError(
            f"--beside {paths[0]}: belongs to one home, and the other files hold {len(homes)}"
        )
    told = dict.fromkeys(spool.channels, "the other files")
    clocks: dict[str, str] = {}
    for path in paths:
        plain = Options(timezone=options.timezone, name=homes[0])
        fmt = choose(None, path, plain)
        _check_folders(fmt, [path])
        if "name" not in fmt.reads:
            plain = replace(plain, name=None)
        clock = fmt.clock or options.timezone or fmt.zone or options.clock or "UTC"
        whose = set()
        for batch in fmt.read([path], plain):
            if batch.channel in told:
                raise InputError(
                    f"{path}: {batch.channel} stands in {told[batch.channel]} as well: which one "
                    "counts?"
                )
            whose.add(batch.household)
            if len(whose) > 1:
                raise InputError(f"{path}: holds several homes: {', '.join(sorted(whose))[:80]}")
            spool.add(replace(batch, household=homes[0]))
            clocks[batch.channel] = clock
            report.rows += len(batch.value)
        if not whose:
            raise InputError(f"{path}: holds no readings")
        told |= {channel: str(path) for channel in clocks if channel not in told}
        report.notes += [f"{path.name}: read as {fmt.title}", *getattr(fmt, "said", [])]
    return clocks


def _zone(fmt: Format, paths: Sequence[Path], options: Options, report: Report) -> str:
    """Return the zone of the homes, and note where nobody said it."""
    if options.timezone:
        return options.timezone
    told = getattr(fmt, "zone_of", lambda _: None)(paths[0])
    if told:
        report.notes.append(f"zone {told}: as {paths[0].name} says; --timezone names another")
        return str(told)
    if fmt.zone:
        return fmt.zone
    clock = options.clock or fmt.clock
    if clock and clock != "UTC":
        zone = clock if isinstance(clock_zone(clock), str) else fixed_zone(clock)
        report.notes.append(
            f"zone {zone}: that of the stamps' clock; --timezone names the homes' if it is another"
        )
        return zone
    report.notes.append(
        "zone UTC is assumed, for want of a word: local days and hours follow it; name the homes' "
        "with --timezone, for example Europe/Paris"
    )
    return "UTC"


def _again(
    paths: Sequence[Path], out: Path, scratch: Path, options: Options, levels: bool
) -> Report:
    """Take household files of our own as they are, marks and zone included."""
    given = {n: getattr(options, n) for n in FLAGS if n != "name"}
    used = [FLAGS[n] for n, v in given.items() if v not in (None, False) and v != {}]
    if levels:
        used.append("--price or --context")
    if used:
        raise InputError(
            f"{paths[0]}: is a household file already: {used[0]} cannot change it; it has "
            "--timezone and --name"
        )
    if options.name and len(paths) > 1:
        raise InputError(
            f"--name {options.name}: {len(paths)} household files cannot have one name"
        )
    report = Report(format="household file")
    ready = scratch / "ready"
    for path in paths:
        home = store.read_household(path)
        home = replace(
            home, name=options.name or home.name, timezone=options.timezone or home.timezone
        )
        if home.name in report.accounts:
            raise InputError(f"{path}: household {home.name} is in another of the files as well")
        _free(out, [home.name])
        kwh = float(home.consumption.sum())
        account = Account(
            file_kwh={"consumption": kwh},
            kept_kwh={"consumption": kwh},
            imported_kwh={"consumption": kwh},
            filled_share=float(home.filled_rows.mean()),
            coarse_share=float(home.resolution_minutes > home.interval_minutes),
            doubts=list(home.doubts),
        )
        report.rows += len(home.frame)
        report.accounts[home.name] = account
        report.spans[home.name] = _span(home)
        report.zones[home.name] = home.timezone
        write_household(home, ready)
    _publish(ready, out)
    return report


def _free(out: Path, names: Sequence[str]) -> None:
    for name in names:
        if (out / f"{name}.parquet").exists():
            raise InputError(f"{out}: already holds {name}.parquet")


def _add(report: Report, home: Household, account: Account, rules: Rules, strict: bool) -> None:
    account.doubts += _own_doubts(account, rules)
    account.doubts += doubts_of(home.half_hours())
    if strict and account.doubts:
        raise InputError(f"--strict: household {home.name}: {account.doubts[0]}")
    report.accounts[home.name] = account
    report.spans[home.name] = _span(home)
    report.zones[home.name] = home.timezone


def _own_doubts(account: Account, rules: Rules) -> list[str]:
    doubts = []
    if account.missing_hour_first:
        doubts.append(
            f"readings at {account.missing_hour_first}, an hour that does not exist on the clock "
            f"of {rules.clock}: do the stamps follow another ('--clock UTC', '--clock +01:00')?"
        )
    if account.single_hours:
        doubts.append(
            f"{account.single_hours} stamps of the hour that the clock of {rules.clock} shows "
            "twice are there once: does it follow another clock (--clock)?"
        )
    if account.false_readings:
        doubts.append(f"{account.false_readings} readings of a register dip or leap: left out")
    if account.contradictions:
        doubts.append(
            f"in {account.contradictions} {rules.cadence.noun}s the flows give less than no "
            "consumption: gaps"
        )
    return doubts


def _publish(ready: Path, out: Path) -> None:
    for path in sorted(ready.iterdir()):
        path.replace(out / path.name)


def _span(home: Household) -> tuple[pd.Timestamp, pd.Timestamp, int, int]:
    index = home.frame.index
    return index[0], index[-1] + home.cadence.step, home.resolution_minutes, home.filled_values


def _rows(path: Path) -> int:
    """Estimate the rows of a text file from the length of its first lines; 0 if it has none."""
    if path.is_dir():
        return 0
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    lines = head.count(b"\n")
    return 0 if lines == 0 else int(path.stat().st_size / (len(head) / lines))
