"""Running a command line: what every ``fedwatt`` program does at its entrance."""

import atexit
import copy
import difflib
import gc
import importlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import click
import typer
import typer.core
from typer.core import TyperArgument, TyperGroup

from common import __version__
from common.errors import InputError, RunError, of_the_world

# Typer escapes what is in brackets for rich, even where it prints without it.
vars(typer.core)["HAS_RICH"] = False


class _Argument(TyperArgument):
    """An argument whose help is listed once: click from 8.5 on takes it from typer's own, and
    lists it in a place of its own where it is given back."""

    def __init__(self, *, help: str | None = None, **more: Any) -> None:
        super().__init__(help=help, **more)
        self._said = help

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Name and help."""
        shown = copy.copy(self)
        shown.help = self._said
        return super(_Argument, shown).get_help_record(ctx) or ("", "")


vars(typer.main)["TyperArgument"] = _Argument

_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_NEW_OBJECTS = 10_000
"""After so many Python looks for garbage: imports make a million objects, and all of them stay."""

_LOOK: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Group(TyperGroup):
    """Lists its commands with the whole first sentence, which click cuts after a line, and says
    once which names are near an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchOption:
            raise
        except click.UsageError:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx))
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands and what they do."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _sentence(one.help or "")) for name, one in self.commands.items()]
            )


def _sentence(text: str) -> str:
    return re.split(r"[.;] |\.$", " ".join(text.split()))[0]


def group(cls: type[TyperGroup] = Group, **more: Any) -> typer.Typer:
    """A command with subcommands; without one it prints its help."""
    return typer.Typer(no_args_is_help=True, add_completion=False, cls=cls, **_LOOK, **more)


def single() -> typer.Typer:
    """A command without subcommands."""
    return typer.Typer(add_completion=False, **_LOOK)


def run(app: typer.Typer, program: str) -> None:
    """Run ``app`` as a program; a user's mistake is one line and exit status 2.

    What the world does to it, a full disk or a database that is gone, is one line and status 1.
    """
    _keep_compiled_code()
    gc.set_threshold(_NEW_OBJECTS)
    # What ends with the process need not be searched for what could be thrown away.
    atexit.register(gc.freeze)
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
    except BrokenPipeError:
        # Whoever read the output has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        told = of_the_world(error)
        if told is None:
            raise
        print(f"{program}: {told}", file=sys.stderr)
        sys.exit(1)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Let what the world does to the work, a full disk for one, name the folder it writes to."""
    try:
        yield
    except Exception as error:
        told = of_the_world(error)
        if told is None or str(folder) in told:
            raise
        raise RunError(f"{folder}: {told}") from error


def _keep_compiled_code() -> None:
    """Give numba a folder of its own where it could write neither beside the code nor at home.

    It raises otherwise, while modules are imported.
    """
    home = Path.home() / ".cache"
    near = [Path(__file__).parent, next((p for p in (home, *home.parents) if p.exists()), home)]
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(p, os.W_OK) for p in near):
        # Shared by the processes that this one starts.
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="fedwatt-numba-")


class Lazy(Group):
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
