"""Running a command line: what every ``fedwatt`` program does at its entrance."""

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import click
import typer
import typer.core
from typer.core import TyperGroup

from common import __version__
from common.errors import InputError

# Typer escapes what is in brackets for rich, even where it prints without it.
vars(typer.core)["HAS_RICH"] = False

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


_LOOK: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def group(**more: Any) -> typer.Typer:
    """A command with subcommands; without one it prints its help."""
    return typer.Typer(no_args_is_help=True, add_completion=False, **_LOOK, **more)


def single() -> typer.Typer:
    """A command without subcommands."""
    return typer.Typer(add_completion=False, **_LOOK)


def run(app: typer.Typer, program: str) -> None:
    """Run ``app`` as a program; a user's mistake is one line and exit status 2."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # What is a program here may be a command of another one, which has the completion then.
    root = typer.Typer(no_args_is_help=True, cls=app.info.cls, **_LOOK)
    root.registered_commands = app.registered_commands
    root.registered_callback = app.registered_callback
    try:
        root(prog_name=program)
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)


class Lazy(TyperGroup):
    """Commands whose modules are imported when they are called: start-up stays quick.

    A subclass names them: command -> (module with its ``app``, what it does).
    """

    modules: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of help."""
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, None for an unknown one."""
        if cmd_name not in self.modules:
            return None
        module = importlib.import_module(self.modules[cmd_name][0])
        return typer.main.get_command(module.app)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List what the commands do without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in self.modules.items()])


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
