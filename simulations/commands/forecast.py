"""``fedwatt forecast``: what a household expects of the next day, week and month."""

from pathlib import Path
from typing import Annotated

import typer

from common.console import single

app = single()


@app.command()
def forecast(
    run: Annotated[Path, typer.Argument(help="folder of a finished run, or one broken off")],
    household: Annotated[str, typer.Option(help="by name; default: the first")] = "",
    out: Annotated[
        Path | None, typer.Option(help="the picture; default: forecast-NAME.png in the run")
    ] = None,
) -> None:
    """Print and draw what a household's model says of consumption and price, from where its run is.

    Totals of the next day, week and month, and what the month should cost.
    """
    from simulations.report.outlook import draw, outlook_of

    found = outlook_of(run, household)
    for one in found.ahead:
        typer.echo(
            f"{one.name:>6}: {one.consumption.sum():9.2f} kWh, {one.price.mean():.4f} a kWh on "
            f"average, {one.price.min():.4f} to {one.price.max():.4f}"
        )
    if found.bill is not None:
        typer.echo(
            f"{'bill':>6}: {found.bill:9.2f} for the month, if {found.paid_share:.0%} of the grid's"
            f" price of all that is used is paid, as in the last {found.days:.1f} days"
        )
    path = out or run / f"forecast-{found.name}.png"
    draw(found, path)
    typer.echo(f"{found.name}, from {found.begins:%Y-%m-%d %H:%M} on; drawn: {path}")
