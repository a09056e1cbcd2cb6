"""``fedwatt report DIR``: draw report.html of a run."""

from pathlib import Path
from typing import Annotated

import typer

from common.console import single

app = single()


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="run directory of fedwatt simulate")],
) -> None:
    """Draw report.html of a finished run: one file that opens offline."""
    from simulations.report import write_report  # here: --help needs no pandas

    typer.echo(write_report(directory))
