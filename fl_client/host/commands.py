"""``fedwatt client``: a household on its own host. ``init`` once, then ``start`` (a service)."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="a household on its own host", no_args_is_help=True)

Directory = Annotated[Path, typer.Argument(help="the household's folder")]


@app.command()
def init(
    directory: Directory,
    name: Annotated[str, typer.Option(help="the household's name")],
    data: Annotated[str, typer.Option(help="its own file, folder or database URL")],
    server: Annotated[str, typer.Option(help="the coordinator, HOST:PORT")] = "127.0.0.1:9092",
    ca: Annotated[Path | None, typer.Option(help="the community's ca.crt")] = None,
    port: Annotated[int, typer.Option(help="Flower's own port on this host (loopback)")] = 9094,
    poll: Annotated[
        float, typer.Option(help="seconds between two questions for messages; more saves traffic")
    ] = 3.0,
    insecure: Annotated[bool, typer.Option(help="no TLS; loopback only")] = False,
) -> None:
    """Make the household's folder and key; prints the public key to register."""
    from fl_client.host.folder import init_client

    typer.echo(init_client(directory.resolve(), name, data, server, ca, port, insecure, poll))


@app.command()
def start(directory: Directory) -> None:
    """Take part: connect, and connect again whatever happens. Does not return."""
    from fl_client.host.folder import start_client

    start_client(directory.resolve())
