"""``fedwatt forecast``: what a household expects of the next day, week and month."""

from pathlib import Path
from typing import Annotated

import typer

from common.console import single
from common.errors import InputError

app = single()


@app.command()
def forecast(
    folder: Annotated[Path, typer.Argument(help="of a run, or of a deployed household")],
    household: Annotated[str, typer.Option(help="of a run: by name; default: the first")] = "",
    out: Annotated[
        Path | None, typer.Option(help="the picture; default: forecast-NAME.png in the folder")
    ] = None,
) -> None:
    """Print and draw what a household's model says of consumption and price, from where it is.

    Totals of the next day, week and month, and what this month should cost.
    """
    if (folder / "client.yaml").is_file():
        from fl_client.host.forecast import home_outlook

        if household:
            raise InputError(f"--household {household}: {folder} is one household's own folder")
        made = home_outlook(folder.resolve())
    else:
        from simulations.report.outlooks import outlook_in

        made = outlook_in(folder, household)
    for line in made.drawn(out or folder / f"forecast-{made.outlook.name}.png"):
        typer.echo(line)
