"""``fedwatt status DIR``: state of a server's or a household's folder."""

from pathlib import Path
from typing import Annotated

import typer

from common.console import show, single
from common.errors import InputError

app = single()


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(help="folder of a server or a household")],
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say how a server or a household is doing; exit status 1 where it is not running."""
    from fl_client.host.status import client_status
    from fl_server.host.status import server_status

    if (directory / "server.yaml").is_file():
        facts = server_status(directory.resolve())
    elif (directory / "client.yaml").is_file():
        facts = client_status(directory.resolve())
    else:
        raise InputError(
            f"{directory}: neither a server's folder (server.yaml) nor a household's (client.yaml)"
        )
    show(facts, as_json=as_json)
