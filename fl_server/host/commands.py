"""``fedwatt server``: the coordinator on its own host.

``init`` once; ``start`` keeps the SuperLink up (a service); ``admit`` each household; ``run``
starts the run, or continues it (a service too).
"""

import math
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from common.console import group
from common.errors import InputError

app = group(help="the coordinator on its own host")

Directory = Annotated[Path, typer.Argument(help="the coordinator's folder")]


@app.command()
def init(
    directory: Directory,
    address: Annotated[
        list[str] | None, typer.Option(help="name or address households connect to; repeatable")
    ] = None,
    config: Annotated[str | None, typer.Option(help="preset or YAML file")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, any setting")
    ] = None,
    tariff: Annotated[
        str | None,
        typer.Option(
            help="CSV with time,retail; or a data source to rehearse with: its prices and dates"
        ),
    ] = None,
    households: Annotated[int, typer.Option(help="of the rehearsal's data source")] = 1,
    fleet_port: Annotated[
        int, typer.Option(min=1, max=65535, help="households connect here")
    ] = 9092,
    control_port: Annotated[int, typer.Option(min=1, max=65535, help="loopback only")] = 8000,
    page_port: Annotated[int, typer.Option(min=1, max=65535, help="web page and metrics")] = 9480,
    transport: Annotated[
        Literal["grpc", "http"], typer.Option(help="http needs flwr 1.40 or later on every host")
    ] = "grpc",
    insecure: Annotated[bool, typer.Option(help="no TLS; loopback only")] = False,
) -> None:
    """Make the folder: authority, server certificate, settings, tariff."""
    from fl_server.host.folder import Deployment
    from fl_server.host.setup import init_server

    deployment = Deployment(
        fleet_port=fleet_port,
        control_port=control_port,
        page_port=page_port,
        transport=transport,
        insecure=insecure,
    )
    init_server(
        directory.resolve(),
        address or ["127.0.0.1"],
        config,
        set_ or [],
        tariff,
        households,
        deployment,
    )
    typer.echo(f"{directory}: ready; give {directory / 'tls' / 'ca.crt'} to every household")


@app.command()
def start(directory: Directory) -> None:
    """Keep the SuperLink up, which households connect to. Does not return."""
    from common.processes import exec_process
    from fl_server.host.flower import check_ports, superlink, write_connection
    from fl_server.host.folder import Folder

    folder = Folder(directory.resolve())
    command, env = superlink(folder)
    check_ports(folder)
    # The port may be another one than at init.
    write_connection(folder, folder.deployment())
    exec_process(command, env)


@app.command()
def admit(
    directory: Directory,
    public_key: Annotated[str, typer.Argument(help="the line client init printed, or its file")],
    name: Annotated[str, typer.Option(help="the household's name")],
) -> None:
    """Let a household in, and bind its name to its key."""
    from fl_server.host.setup import admit_household

    node = admit_household(directory.resolve(), public_key, name)
    typer.echo(f"{name}: admitted as node {node}")


@app.command()
def expel(
    directory: Directory, name: Annotated[str, typer.Option(help="the household's name")]
) -> None:
    """Shut a household out: its key is not accepted any more."""
    from fl_server.host.setup import expel_household

    expel_household(directory.resolve(), name)
    typer.echo(f"{name}: expelled")


@app.command()
def leave(
    directory: Directory,
    name: Annotated[str, typer.Option(help="the household's name")],
    stays: Annotated[bool, typer.Option("--stays", help="it trades again after all")] = False,
) -> None:
    """Let a household leave in good order: it trades no more from the next interval on, and is
    heard until its last readings are there; then its statement is final, and it may be expelled."""
    from fl_server.host.setup import leave_household

    leave_household(directory.resolve(), name, stays=stays)
    typer.echo(f"{name}: {'stays' if stays else 'leaves with the next interval'}")


@app.command()
def end(directory: Directory) -> None:
    """End a run without end: after the interval that goes on the last readings are waited for, and
    every account is closed."""
    from fl_server.host.setup import end_run

    end_run(directory.resolve())
    typer.echo(f"{directory}: ends with the interval that goes on")


@app.command()
def renew(
    directory: Directory,
    address: Annotated[
        list[str] | None, typer.Option(help="names or addresses; default: as before")
    ] = None,
) -> None:
    """Make a new server certificate of the same authority; takes effect at the next start."""
    from fl_server.host.setup import renew_certificate

    renew_certificate(directory.resolve(), address)
    typer.echo(f"{directory / 'tls' / 'server.pem'}: renewed")


@app.command()
def run(
    directory: Directory,
    speed: Annotated[
        str | None,
        typer.Option(
            help="1: real time; 60: half an hour takes 30 s; max: no waiting; default: 1, or as "
            "the run was begun"
        ),
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%dT%H:%M"], help="UTC time of interval 0 in a rehearsal"),
    ] = None,
    page: Annotated[bool, typer.Option(help="serve the web page and the metrics")] = True,
) -> None:
    """Start the run, or continue it where it stands; returns when it is finished."""
    from fl_server.host.supervisor import run_server

    rate = math.inf if speed == "max" else None
    if speed is not None and rate is None:
        try:
            rate = float(speed)
        except ValueError:
            raise InputError(f"--speed {speed!r}: a number or max") from None
        if not 0 < rate < math.inf:
            raise InputError(f"--speed {speed!r}: more than 0, or max")
    begin = time.monotonic()
    run_server(directory.resolve(), rate, start, page)
    typer.echo(f"finished after {time.monotonic() - begin:.0f} s: {directory / 'run'}")
