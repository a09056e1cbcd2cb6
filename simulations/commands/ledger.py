"""``fedwatt ledger``: verify the books, print bills."""

import json
from datetime import date, datetime
from math import isnan
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from common import config
from common.console import group
from common.errors import InputError
from common.files import write_whole
from fl_server.bills import Bill
from fl_server.bills import bill as make_bill
from fl_server.ledger import Ledger
from fl_server.months import check_kept
from fl_server.run_files import SUMMARY, ledger_url
from fl_server.statement import TOTAL, Statement
from fl_server.statement import statement as make_statement
from simulations.report.bill_page import page
from simulations.report.statement_page import LABELS, notes, statement_page

app = group(help="verify a ledger, print bills")
_RUN = typer.Argument(help="run folder, ledger file or database URL")
_NAME = typer.Option("--run", help="which run, where the database holds several")
_DAY = ["%Y-%m-%d"]
_First = Annotated[datetime | None, typer.Option("--from", formats=_DAY, help="first local day")]
_Last = Annotated[datetime | None, typer.Option("--to", formats=_DAY, help="last local day")]
_Form = Annotated[
    Literal["table", "csv", "page"], typer.Option("--format", help="page: one HTML file")
]
_Out = Annotated[Path | None, typer.Option(help="write to this file")]


def _open(where: str, name: str | None) -> tuple[Ledger, str]:
    """The ledger of a run folder, file or URL, and the run's name. Creates nothing."""
    folder = Path(where) if "://" not in where and Path(where).is_dir() else None
    url = where if "://" in where else f"sqlite:///{where}" if folder is None else _url_of(folder)
    file = url.removeprefix("sqlite:///")
    if file != url and not Path(file).is_file():
        what = "no such file" if folder is None else "no such file: the folder holds no run"
        raise InputError(f"{file}: {what}; RUN is a run's folder, a ledger file or a database URL")
    ledger = Ledger(url, create=False)
    runs = ledger.runs()
    if name is None and len(runs) > 1 and folder is not None:
        # A database of several runs: a folder's own is named by the digest of its settings.
        digest = config.load(str(folder / "config.yaml")).digest()
        name = next((run for run in runs if run.startswith(digest)), None)
    return ledger, ledger.attach(name)


def _zone_of(where: str) -> str | None:
    """The households' time zone, where a finished run's folder or its settings tell it."""
    settings = Path(where) / "config.yaml"
    try:
        told = json.loads((Path(where) / SUMMARY).read_text())
    except (OSError, ValueError):
        return config.load(str(settings)).data.timezone if settings.is_file() else None
    zone = told.get("data", {}).get("timezone")
    return None if zone is None else str(zone)


def _url_of(folder: Path) -> str:
    settings = folder / "config.yaml"
    return ledger_url(config.load(str(settings) if settings.is_file() else None), folder)


@app.command()
def verify(run: Annotated[str, _RUN], name: Annotated[str | None, _NAME] = None) -> None:
    """Recompute the hash chain and every balance; exit status 1 names the first wrong row."""
    ledger, name = _open(run, name)
    with ledger:
        verdict = ledger.verify()
    if verdict.error is not None:
        typer.echo(f"ledger of run {name}: WRONG: {verdict.error}")
        raise typer.Exit(1)
    typer.echo(f"ledger of run {name}: {verdict.rows} rows in {verdict.entries} entries: correct")


@app.command()
def bill(
    run: Annotated[str, _RUN],
    household: Annotated[str, typer.Argument(help="its name")],
    first: _First = None,
    last: _Last = None,
    by: Annotated[Literal["interval", "day", "month", "total"], typer.Option()] = "day",
    form: _Form = "table",
    out: _Out = None,
    timezone: Annotated[
        str | None, typer.Option(help="calendar of the bill; default: the run's")
    ] = None,
    name: Annotated[str | None, _NAME] = None,
) -> None:
    """What HOUSEHOLD traded and owes, per day, month or interval."""
    ledger, name = _open(run, name)
    with ledger:
        made = make_bill(
            ledger,
            name,
            household,
            first=_date(first),
            last=_date(last),
            by=by,
            timezone=timezone or _zone_of(run),
        )
    text = {"table": _table, "csv": _csv, "page": page}[form](made)
    _give(text, out, f"bill of {household}")


@app.command()
def statement(
    run: Annotated[str, _RUN],
    household: Annotated[str, typer.Argument(help="its name")],
    month: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m"], help="one month; default: all there are")
    ] = None,
    first: _First = None,
    last: _Last = None,
    by: Annotated[Literal["day", "month", "total"], typer.Option()] = "month",
    form: _Form = "table",
    out: _Out = None,
    timezone: Annotated[
        str | None, typer.Option(help="calendar of the statement; default: the run's")
    ] = None,
    name: Annotated[str | None, _NAME] = None,
) -> None:
    """HOUSEHOLD's bill line by line, and what it saved against being alone."""
    begin, end = _date(first), _date(last)
    if month is not None:
        if begin or end:
            raise InputError("--month: goes without --from and --to")
        begin = month.date()
        end = (pd.Timestamp(month) + pd.offsets.MonthEnd(0)).date()
    ledger, name = _open(run, name)
    with ledger:
        made = make_statement(
            ledger,
            name,
            household,
            first=begin,
            last=end,
            by=by,
            timezone=timezone or _zone_of(run),
        )
    text = {"table": _lines_table, "csv": _lines_csv, "page": statement_page}[form](made)
    _give(text, out, f"statement of {household}")


@app.command()
def months(
    run: Annotated[str, _RUN],
    kept: Annotated[Path, typer.Argument(help="what fedwatt-client months HOME --json says")],
    name: Annotated[str | None, _NAME] = None,
) -> None:
    """Check a household's kept monthly statements against the ledger; exit status 1 where any is
    not what the ledger says, or does not follow the one before."""
    try:
        texts = [line for line in kept.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{kept}: {error}") from None
    ledger, name = _open(run, name)
    with ledger:
        verdict = ledger.verify()
        found = check_kept(ledger, name, texts)
    for month, wrong in found:
        typer.echo(f"{month}: {wrong or 'as the ledger says'}")
    if verdict.error is not None:
        typer.echo(f"the ledger does not verify: {verdict.error}")
    if verdict.error is not None or any(wrong for _, wrong in found):
        raise typer.Exit(1)


def _give(text: str, out: Path | None, what: str) -> None:
    """Print a text, or write it to a file and say so."""
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        write_whole(out, text, durable=False)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}") from None
    typer.echo(f"{what}: {out}")


def _lines_csv(made: Statement) -> str:
    return str(made.lines.to_csv(float_format="%.6f", lineterminator="\n"))


def _lines_table(made: Statement) -> str:
    table = Table(box=box.SIMPLE, title=f"{made.household}, time zone {made.timezone}")
    for column in ("period", "line"):
        table.add_column(column)
    for column in ("quantity", "amount", "alone", "saved"):
        table.add_column(column, justify="right")
    for period in made.periods:
        for line, one in made.of(period).iterrows():
            counted = f"{one['quantity']:.3f} {one['unit']}" if one["unit"] else ""
            figures = (float(one[name]) for name in ("amount", "alone", "saved"))
            money = ("" if isnan(figure) else f"{figure:.3f}" for figure in figures)
            last = line == TOTAL
            table.add_row(period, LABELS[str(line)], counted, *money, end_section=last)
    return _printed(table, 110) + "".join(f"{note}\n" for note in notes(made))


def _date(day: datetime | None) -> date | None:
    return None if day is None else day.date()


def _csv(bill: Bill) -> str:
    return str(bill.lines.to_csv(float_format="%.6f", lineterminator="\n"))


def _table(bill: Bill) -> str:
    table = Table(box=box.SIMPLE, title=f"{bill.household}, time zone {bill.timezone}")
    table.add_column("period")
    for name in bill.lines.columns:
        table.add_column(name.replace("_", " "), justify="right")
    for period, line in [*bill.lines.iterrows(), ("total", bill.total)]:
        table.add_row(str(period), *(f"{line[name]:.3f}" for name in bill.lines.columns))
    return _printed(table, max(140, 15 * len(table.columns)))


def _printed(table: Table, width: int) -> str:
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get()
