"""``fedwatt data``: fetch, generate, import and check household readings."""

import tempfile
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from common import database
from common.cadence import HALF_HOUR, Cadence
from common.console import group, writing_to
from common.data import citylearn, day_ahead, equipment, store, synthetic
from common.data.assemble import ABSENT, MAX_GAP_SHARE
from common.data.formats.mapping import (
    Mapping,
    change_mapping,
    dump_mapping,
    load_mapping,
)
from common.data.frame import INTERVAL, local_midnight
from common.data.importing import import_files
from common.data.quality import measure
from common.data.readings import Options
from common.data.sql import Readings
from common.data.weather import SITES
from common.errors import InputError
from simulations.data import account
from simulations.progress import Counter, track

_BANDS = "bands"
_PRICES = (_BANDS, day_ahead.NAME, day_ahead.REVERSED)

app = group(help="generate, fetch, import, check household data")


@app.command()
def fetch(
    what: Annotated[str, typer.Argument(help="the data set: citylearn")],
    out: Annotated[Path | None, typer.Option(help="also write canonical files here")] = None,
) -> None:
    """Bring a public data set into the cache."""
    if what != "citylearn":
        raise InputError(f"data fetch {what!r}: known: citylearn")
    folder = citylearn.fetch()
    typer.echo(f"{citylearn.SOURCE}: {len(citylearn.NAMES)} homes in {folder}")
    if out is not None:
        for name in track(citylearn.NAMES, "writing"):
            store.write_household(citylearn.load(name), out)
        typer.echo(f"{len(citylearn.NAMES)} households in {out}")


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="folder for one Parquet file per household")],
    households: Annotated[int, typer.Option(min=1)] = 10,
    days: Annotated[int, typer.Option(min=1)] = 63,
    start: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    site: Annotated[str, typer.Option(help=f"climate: {', '.join(SITES)}")] = "london",
    pv: Annotated[float, typer.Option(min=0, max=1, help="share of homes with panels")] = 0.5,
    ev: Annotated[float, typer.Option(min=0, max=1, help="share with an electric car")] = 0.25,
    ac: Annotated[float, typer.Option(min=0, max=1, help="share with air conditioning")] = 0.3,
    batteries: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="share with a battery of their own; default: all have the run's"
        ),
    ] = None,
    battery_kwh: Annotated[
        float, typer.Option(min=1, max=100, help="mean capacity of those [kWh]")
    ] = equipment.MEAN_KWH,
    pv_kw: Annotated[
        float, typer.Option(min=0.5, max=50, help="mean peak power of the panels [kW]")
    ] = synthetic.DEFAULT.pv_kw,
    export_limited: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="share that may feed in 16 A, each home with a fuse of its own, of 60, 80 or "
            "100 A; default: all have the run's connection",
        ),
    ] = None,
    prices: Annotated[
        str,
        typer.Option(
            help="bands (day, night, peak), day-ahead (a market's, some below zero), or reversed: "
            "as day-ahead, but at noon export earns more than import costs"
        ),
    ] = _BANDS,
) -> None:
    """Generate synthetic households: the same seed gives the same bytes."""
    if prices not in _PRICES:
        raise InputError(f"--prices {prices!r}: known: {', '.join(_PRICES)}")
    if site not in SITES:
        raise InputError(f"--site {site!r}: known: {', '.join(SITES)}")
    if out.exists() and any(out.glob("*.parquet")):
        raise InputError(f"--out {out}: already holds household files")
    community = synthetic.Community(SITES[site], pv=pv, ev=ev, ac=ac, pv_kw=pv_kw)
    day = start.date() if start else date.fromisoformat(synthetic.DEFAULT_DAY)
    zone = community.site.timezone
    first = local_midnight(day.isoformat(), zone)
    after = local_midnight(pd.Timestamp(day) + pd.Timedelta(days=days), zone)
    rows = int((after - first) // INTERVAL)
    for name in track(synthetic.names(households), "generating"):
        made = synthetic.generate(name, seed=seed, first=first, intervals=rows, community=community)
        if prices != _BANDS:
            made = day_ahead.at_market(made, seed, reversed_at_noon=prices == day_ahead.REVERSED)
        store.write_household(made, out)
        block: dict[str, Any] = {}
        if batteries is not None:
            block |= equipment.draw_battery(
                name, seed=seed, panels=bool(made.frame["pv"].any()), share=batteries, pv=pv,
                mean_kwh=battery_kwh,
            )  # fmt: skip
        if export_limited is not None:
            block |= equipment.draw_connection(name, seed=seed, limited=export_limited)
        if block:
            store.write_block(block, out / f"{name}.yaml")
    typer.echo(f"{households} households x {rows} half hours in {out}")


def _roles(pairs: list[str]) -> dict[str, str]:
    roles = {}
    for pair in pairs:
        key, equals, role = pair.partition("=")
        if not equals or not key or not role:
            raise InputError(f"--map {pair!r}: expected COLUMN=ROLE, for example Appliance1=fridge")
        roles[key] = role
    return roles


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="files of one format")],
    out: Annotated[Path, typer.Option(help="folder for one Parquet file per household")],
    format_: Annotated[
        str | None, typer.Option("--format", help="default: recognised by the header")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="zone of the homes: of their days and hours")
    ] = None,
    clock: Annotated[
        str | None,
        typer.Option(
            help="of stamps without offset: a zone, UTC, +10:00; default: the homes' zone"
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="name of a single household")] = None,
    each: Annotated[
        bool, typer.Option("--each", help="each file is a home of its own, called as the file")
    ] = False,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="COLUMN=ROLE, of a table COLUMN=ROLE:UNIT:KIND"),
    ] = None,
    mapping: Annotated[
        str | None, typer.Option(help="of a table: a YAML file, or the name of one that ships")
    ] = None,
    save_mapping: Annotated[
        Path | None, typer.Option(help="write here how the table was read")
    ] = None,
    separator: Annotated[str | None, typer.Option(help="of a table: , ; | or tab")] = None,
    decimal: Annotated[str | None, typer.Option(help="decimal sign of a table: . or ,")] = None,
    encoding: Annotated[str | None, typer.Option(help="of a table, for example cp1252")] = None,
    skip: Annotated[int | None, typer.Option(help="lines before a table's header")] = None,
    header: Annotated[str | None, typer.Option(help="what a table's header begins with")] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="time column of a table, or DATE+TIME")
    ] = None,
    date_format: Annotated[
        str | None, typer.Option(help="iso, epoch, epoch_ms, excel, or like '%d/%m/%Y %H:%M'")
    ] = None,
    stamps: Annotated[
        str | None,
        typer.Option(help="a table's times: begin or end of readings, or their count"),
    ] = None,
    minutes: Annotated[int | None, typer.Option(help="length of a table's readings")] = None,
    home: Annotated[str | None, typer.Option(help="column that names the household")] = None,
    unit: Annotated[str | None, typer.Option(help="of values whose file does not say it")] = None,
    first_day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="of a set without dates")
    ] = None,
    allow_resets: Annotated[
        bool, typer.Option("--allow-resets", help="a meter that falls counts on from zero")
    ] = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="every column after the time is a home")
    ] = False,
    span: Annotated[
        str | None,
        typer.Option(help="where channels begin or end apart: common (cut) or all (0 outside)"),
    ] = None,
    max_gaps: Annotated[
        float, typer.Option(min=0, max=1, help="refuse a household that misses a larger share")
    ] = MAX_GAP_SHARE,
    price: Annotated[
        float | None, typer.Option(help=f"where the files have none; default {ABSENT['price']}")
    ] = None,
    context: Annotated[
        Path | None,
        typer.Option(
            help="table of timestamp, temperature, solar_irradiance, price, export_price; or "
            "prices as Octopus and Ember publish them"
        ),
    ] = None,
    context_mapping: Annotated[
        str | None, typer.Option(help="of another context: a YAML file that says how it is read")
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            help="a file of another known format that belongs to the same one home, as of an "
            "inverter; may be given several times"
        ),
    ] = None,
    interval_minutes: Annotated[
        int, typer.Option(help="rows to keep: 1, 5, 10, 15 or 30, as short as runs are to be")
    ] = HALF_HOUR.minutes,
    strict: Annotated[bool, typer.Option("--strict", help="doubts are errors")] = False,
) -> None:
    """Bring meter files of any known format into household files."""
    changes = {
        "separator": "\t" if separator in ("tab", "\\t") else separator,
        "decimal": decimal,
        "encoding": encoding,
        "skip": skip,
        "header": header,
        "time_columns": None if time is None else tuple(time.split("+")),
        "date_format": date_format,
        "stamps": stamps,
        "minutes": minutes,
        "home": home,
    }
    told = mapping is not None or any(value is not None for value in changes.values())
    base = load_mapping(mapping) if mapping else Mapping()
    options = Options(
        mapping=change_mapping(base, changes) if told else None,
        timezone=timezone,
        clock=clock,
        name=name,
        each=each,
        roles=_roles(map_ or []),
        unit=unit,
        first_day=first_day.date() if first_day else None,
        allow_resets=allow_resets,
        wide=wide,
    )
    with writing_to(out), Counter() as progress:
        report = import_files(
            paths,
            out,
            format_name=format_,
            options=options,
            max_gap_share=max_gaps,
            price=price,
            context=context,
            context_mapping=context_mapping,
            beside=beside or [],
            span=span,
            strict=strict,
            cadence=Cadence(interval_minutes),
            progress=progress,
        )
    if save_mapping is not None:
        save_mapping.write_text(report.mapping)
    for reason in report.refused.values():
        typer.echo(f"refused: {reason}", err=True)
    typer.echo("\n".join(account.lines(report, str(out))))


@app.command("guess")
def guess_(
    path: Annotated[Path, typer.Argument(help="a table that no format knows")],
    save: Annotated[Path | None, typer.Option(help="write the proposed mapping here")] = None,
) -> None:
    """Propose how to read a table, and say how sure each part is. Nothing is imported."""
    from common.data.guess import guess, known_format

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with tempfile.TemporaryDirectory(prefix="fedwatt-") as scratch:
        found = guess(path, Path(scratch))
    known = known_format(path)
    if known is not None:
        typer.echo(f"known: 'fedwatt data import' reads this as --format {known} without a mapping")
    wide = max(len(part.what) for part in found.parts)
    for part in found.parts:
        typer.echo(f"{part.sure:6}  {part.what:{wide}}  {part.value}: {part.why}")
    text = dump_mapping(found.mapping)
    if save is None:
        typer.echo(f"\n{text}")
    else:
        save.write_text(text)
    told = f"--mapping {save or 'FILE.yaml'}"
    asked = "".join(f" {option} ..." for option in found.missing)
    typer.echo(f"fedwatt data import {path} {told}{asked} --out FOLDER")


@app.command()
def migrate(url: Annotated[str, typer.Argument(help="postgresql://... or sqlite:///...")]) -> None:
    """Create or update the schema of a database."""
    db = database.engine(url)
    before, after = database.migrate(db)
    was = "empty" if before is None else f"version {before}"
    typer.echo(f"{database.shown(db.url)}: schema version {after} (was {was})")


@app.command()
def policies() -> None:
    """Print the SQL that lets households share a database without seeing each other."""
    typer.echo(files("configs").joinpath("sql", "shared_project.sql").read_text(), nl=False)


@app.command()
def push(
    paths: Annotated[list[Path], typer.Argument(help="household files, or folders of them")],
    url: Annotated[str, typer.Option("--to", help="postgresql://... or sqlite:///...")],
    area: Annotated[
        str | None,
        typer.Option(
            help="whose prices and weather these are; one area has one; default: as before, or home"
        ),
    ] = None,
) -> None:
    """Write household files into a database; what is there of these households is replaced."""
    readings = Readings(url)
    homes = [f for p in paths for f in ([p] if p.is_file() else store.household_files(p))]
    said: list[str] = []
    for path in track(homes, "writing"):
        said += readings.write(store.read_household(path), area)
    for line in dict.fromkeys(said):
        typer.echo(f"note: {line}")
    typer.echo(f"{len(homes)} households in {readings.label}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="a folder of household files, or one file")],
    picture: Annotated[
        Path | None, typer.Option(help="where to draw; default: check.png in the folder")
    ] = None,
) -> None:
    """Say per household what the readings are like and what is suspicious, and draw a picture."""
    from simulations.data.picture import draw_check

    homes = [path] if path.is_file() else store.household_files(path)
    loaded = [store.read_household(file).half_hours() for file in track(homes, "reading")]
    figures = [measure(home) for home in loaded]
    typer.echo(
        "household        from        to         min   days missing  zeros  kWh/d   PV/d"
        "   peak  r(day) r(week)  7-day nRMSE"
    )
    for home, q in zip(loaded, figures, strict=True):
        first, last = home.frame.index[0], home.frame.index[-1]
        typer.echo(
            f"{home.name:16} {first:%Y-%m-%d}  {last:%Y-%m-%d} {home.resolution_minutes:4d} "
            f"{q.days:6.0f} {q.missing:7.2%} {q.zeros:6.1%} {q.kwh_per_day:6.2f} "
            f"{q.pv_per_day:6.2f} {q.peak_kwh:6.2f} {q.day_correlation:7.2f} "
            f"{q.week_correlation:7.2f} {q.difficulty:12.3f}"
        )
    doubted = [(h, q) for h, q in zip(loaded, figures, strict=True) if q.suspicious]
    for home, q in doubted:
        typer.echo(f"suspicious: {home.name}: {'; '.join(q.suspicious)}")
    typer.echo(f"{len(loaded)} households, {len(doubted)} suspicious")
    target = picture or (path if path.is_dir() else path.parent) / "check.png"
    draw_check(loaded, figures, target)
    typer.echo(f"picture: {target}")


@app.command()
def compare(
    path: Annotated[Path, typer.Argument(help="a folder of real households, imported")],
    households: Annotated[int, typer.Option(min=2, help="0: as many as real")] = 42,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    site: Annotated[str, typer.Option(help=f"climate: {', '.join(SITES)}")] = "london",
    picture: Annotated[Path | None, typer.Option(help="where to draw")] = None,
) -> None:
    """Compare generated homes, without car and panels, with real ones of the same year."""
    from simulations.data.picture import draw_comparison
    from simulations.data.realism import FIGURES, collect, compare, mean_days

    if site not in SITES:
        raise InputError(f"--site {site!r}: known: {', '.join(SITES)}")
    real = [store.read_household(file) for file in store.household_files(path)]
    first = min(home.frame.index[0] for home in real)
    rows = max(len(home.frame) for home in real)
    bare = synthetic.Community(SITES[site], pv=0.0, ev=0.0)
    made = [
        synthetic.generate(name, seed=seed, first=first, intervals=rows, community=bare)
        for name in track(synthetic.names(households), "generating")
    ]
    measured = [collect([measure(home) for home in group]) for group in (real, made)]
    lines = compare(*measured)
    typer.echo(f"{'':48}{'real':>9}{'made':>9}{'apart':>8}{'allowed':>9}")
    for line in lines:
        verdict = "" if line.holds else "  does not hold"
        typer.echo(
            f"{line.what:48}{line.real:9.3f}{line.made:9.3f}{line.distance:8.3f}"
            f"{line.allowed:9.3f}{verdict}"
        )
    held = sum(line.holds for line in lines)
    typer.echo(f"{held} of {len(lines)} hold; {len(real)} real homes, {len(made)} generated")
    if picture is not None:
        usual = np.nanmedian(measured[0]["difficulty"])
        typical = [
            group[int(np.nanargmin(np.abs(figures["difficulty"] - usual)))]
            for group, figures in zip((real, made), measured, strict=True)
        ]
        begin = min(40, rows // 48 // 2) * 48
        weeks = [home.consumption[begin : begin + 7 * 48] for home in typical]
        distributions = {
            title: (measured[0][key], measured[1][key]) for key, title in FIGURES.items()
        }
        draw_comparison(
            distributions, (mean_days(real), mean_days(made)), (weeks[0], weeks[1]), picture
        )
        typer.echo(f"picture: {picture}")


@app.command()
def benchmark(
    households: Annotated[int, typer.Option(min=1)] = 1000,
    days: Annotated[int, typer.Option(min=1)] = 365,
    url: Annotated[str | None, typer.Option(help="also time reading from this database")] = None,
) -> None:
    """Time an import of Low Carbon London rows and, with --url, reads from a database."""
    from simulations.data.timing import time_import, time_reading

    typer.echo(time_import(households, days))
    if url is not None:
        typer.echo(time_reading(url))
