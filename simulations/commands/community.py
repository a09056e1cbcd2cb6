"""``fedwatt community``: broker, coordinator and households on emulated houses, all here."""

import time
from pathlib import Path
from typing import Annotated

import typer

from common.console import single
from common.errors import InputError

app = single()


@app.command()
def community(
    out: Annotated[Path, typer.Option(help="a new folder for everybody's folders")],
    households: Annotated[int, typer.Option(min=1, max=20)] = 4,
    speed: Annotated[float, typer.Option(min=1, max=600, help="60: half an hour takes 30 s")] = 60,
    pages: Annotated[
        int, typer.Option(min=1, max=65000, help="port of the community's page; houses follow")
    ] = 9480,
    lead: Annotated[
        float, typer.Option(min=0, help="seconds from now to the first half hour")
    ] = 60.0,
    only: Annotated[
        str,
        typer.Option(help="folders: make them and end; admit: let the households in and end"),
    ] = "",
) -> None:
    """Start a community to look at; runs until it is interrupted."""
    from simulations.community import Ports, admit, commands, prepare, run

    begin = time.monotonic()
    root = out.resolve()
    if only not in ("", "folders", "admit"):
        raise InputError(f"--only {only!r}: folders or admit")
    if only == "admit":
        admit(root, households)
        return
    if not only:
        commands(root, households)  # what is missing is said before anything is made
    prepare(root, households, speed, lead, Ports.free(pages, households))
    typer.echo(f"made in {time.monotonic() - begin:.0f} s: {root}")
    typer.echo(f"the community: http://127.0.0.1:{pages}/")
    for number in range(households):
        typer.echo(f"house {number + 1}: http://127.0.0.1:{pages + 1 + number}/")
    typer.echo(f"the first half hour begins in {lead:.0f} s")
    if not only:
        typer.echo("Ctrl-C, or closing the terminal, ends all of it")
        raise typer.Exit(run(root, households))
