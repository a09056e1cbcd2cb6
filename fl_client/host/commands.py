"""``fedwatt-client``: a household on its own host. ``init`` once, then ``start`` (a service).

It is the household's side alone and needs no other; ``fedwatt client`` is the same.
"""

from pathlib import Path
from typing import Annotated

import typer

from common.console import Version, group, run, show
from common.errors import InputError

app = group()

Directory = Annotated[Path, typer.Argument(help="the household's folder")]


@app.callback()
def _root(version: Version = False) -> None:
    """A household on its own host."""


@app.command()
def init(
    directory: Directory,
    name: Annotated[str, typer.Option(help="the household's name")],
    data: Annotated[str, typer.Option(help="its own file, folder or database URL")] = "",
    meters: Annotated[
        Path | None, typer.Option(help="its live meters: a mapping, see docs/live.md")
    ] = None,
    from_homeassistant: Annotated[
        str, typer.Option(metavar="URL", help="its live meters: those of an energy dashboard")
    ] = "",
    server: Annotated[str, typer.Option(help="the coordinator, HOST:PORT")] = "127.0.0.1:9092",
    ca: Annotated[Path | None, typer.Option(help="the community's ca.crt")] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Flower's own port on this host (loopback)")
    ] = 9094,
    poll: Annotated[
        float, typer.Option(help="seconds between two questions for messages; more saves traffic")
    ] = 3.0,
    keep_loaded: Annotated[
        bool,
        typer.Option(
            help="keep loaded what an answer takes: faster answers, 200 MB more memory for good"
        ),
    ] = False,
    page_port: Annotated[
        int, typer.Option(min=0, max=65535, help="the page of the house (loopback); 0: none")
    ] = 9481,
    discovery: Annotated[
        str,
        typer.Option(
            metavar="PREFIX",
            help="tell the own Home Assistant by MQTT what the page shows; usually homeassistant",
        ),
    ] = "",
    currency: Annotated[str, typer.Option(help="of prices and bills, for Home Assistant")] = "EUR",
    insecure: Annotated[bool, typer.Option(help="no TLS; loopback only")] = False,
) -> None:
    """Make the household's folder and key; prints the public key, which
    ``fedwatt server admit`` takes."""
    from fl_client.host.client_file import ClientFile
    from fl_client.host.folder import init_client, read_proposal
    from fl_client.membership import METERS

    if sum(map(bool, (data, meters, from_homeassistant))) != 1:
        raise InputError("one of --data, --meters and --from-homeassistant says what it measures")
    file = ClientFile(
        name, data or METERS, server, port, insecure, poll, keep_loaded, page_port=page_port,
        discovery=discovery, currency=currency,
    )  # fmt: skip
    if data:
        typer.echo(init_client(directory.resolve(), file, ca))
        return
    proposal = read_proposal(meters, from_homeassistant)
    typer.echo(init_client(directory.resolve(), file, ca, proposal.entries))
    for line in proposal.words:
        typer.echo(line)
    typer.echo(f"next: fedwatt client meters {directory}")


@app.command()
def start(directory: Directory) -> None:
    """Take part: connect, and connect again whatever happens. Does not return."""
    from fl_client.host.folder import start_client

    start_client(directory.resolve())


@app.command()
def meters(
    directory: Directory,
    seconds: Annotated[
        float | None, typer.Option(help="look for so long; without: until interrupted")
    ] = None,
) -> None:
    """Show live what the meters say, mapped; exit status 1 where one has said nothing."""
    from fl_client.host.watch import watch

    if not watch(directory.resolve(), seconds):
        raise typer.Exit(1)


@app.command()
def forecast(
    directory: Directory,
    out: Annotated[
        Path | None, typer.Option(help="the picture; default: forecast-NAME.png in the folder")
    ] = None,
) -> None:
    """Print and draw what the household expects of consumption and price in the next day, week and
    month, by its newest model and what it knew when it decided last; and the month's bill."""
    from fl_client.host.forecast import home_outlook

    made = home_outlook(directory.resolve())
    for line in made.drawn(out or directory / f"forecast-{made.outlook.name}.png"):
        typer.echo(line)


@app.command()
def months(
    directory: Directory,
    as_json: Annotated[
        bool, typer.Option("--json", help="the statements as they were kept, one a line")
    ] = False,
) -> None:
    """Show the statements of closed months that this household has kept, and their hashes."""
    from fl_client.host.books import kept_statements
    from fl_client.host.client_file import read_client

    home = directory.resolve()
    read_client(home)
    kept = kept_statements(home)
    if not kept:
        typer.echo("no month is closed yet", err=True)
    for month, text, digest, total in kept:
        typer.echo(text if as_json else f"{month}  {total:12.2f}  {digest}")


@app.command()
def status(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say how the household is doing; exit status 1 where it is not running."""
    from fl_client.host.status import client_status

    show(client_status(directory.resolve()), as_json=as_json)


@app.command()
def override(
    directory: Directory,
    hours: Annotated[
        str | None, typer.Option(metavar="HOURS", help="for so long; without: until it is ended")
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="end it")] = False,
    why: Annotated[str | None, typer.Option(help="a word for the others of the house")] = None,
) -> None:
    """Leave the battery to its inverter, whatever the plan says."""
    from fl_client.host.override import begin_override, end_override

    home = directory.resolve()
    if end and (hours is not None or why is not None):
        raise InputError("--end: ends it at once: without --hours and --why")
    typer.echo(end_override(home) if end else begin_override(home, hours, why or ""))


def main() -> None:
    """Run ``fedwatt-client``."""
    run(app, "fedwatt-client")
