"""Running a command line: what every ``fedwatt`` program does at its entrance."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from common import __version__
from common.errors import InputError

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def run(app: Callable[[], object], program: str) -> None:
    """Run a command line; a user's mistake is one line and exit status 2."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedwatt {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="print it and end")
]
"""The option that every program has."""


def show(facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print the state of a folder; exit status 1 where ``facts["running"]`` is false."""
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        for key, value in facts.items():
            typer.echo(f"{key:>22}  {value}")
    if not facts["running"]:
        raise typer.Exit(1)
