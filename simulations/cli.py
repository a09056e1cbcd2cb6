"""The ``fedwatt`` command: one line per subcommand, each imported only when it is called."""

import importlib

import click
import typer
from typer.core import TyperGroup

from common.console import run

COMMANDS = {
    "simulate": "run N households: forecasts, market, federated rounds",
    "train": "train a forecaster locally or centrally, without federation",
    "benchmark": "compare strategies, forecasts, traders, market mechanisms, scale, deployments",
    "market": "clear a book of orders",
    "ledger": "verify a ledger, print bills",
    "data": "generate, fetch, import, check household data",
    "server": "the coordinator on its own host",
    "client": "a household on its own host",
    "status": "state of a server or household folder",
    "report": "draw report.html of a run",
}


_ELSEWHERE = {
    "benchmark": "simulations.benchmarks.command",
    "server": "fl_server.host.commands",
    "client": "fl_client.host.commands",
}


class _Lazy(TyperGroup):
    """Imports a command's module when it is called: start-up stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(
            _ELSEWHERE.get(cmd_name, f"simulations.commands.{cmd_name}")
        )
        return typer.main.get_command(module.app)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Households that forecast together and trade with each other."""


def main() -> None:
    """Run ``fedwatt``."""
    run(app, "fedwatt")
