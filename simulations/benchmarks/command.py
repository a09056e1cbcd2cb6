"""``fedwatt benchmark``: one subcommand each, imported only when it is called."""

import importlib

import click
import typer
from typer.core import TyperGroup

BENCHMARKS = {
    "strategies": "aggregation strategies under dials, attacks, compression, privacy",
    "forecasts": "federated against local, pooled and plain forecasts",
    "traders": "what traders save against the optimum",
    "market": "clearing mechanisms: welfare, truthfulness, speed",
    "scale": "time of a simulation against its number of households",
    "deployment": "round trip, memory and traffic of real households on one machine",
}


class _Lazy(TyperGroup):
    """Imports ``simulations.benchmarks.NAME.command`` when NAME is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in BENCHMARKS:
            return None
        module = importlib.import_module(f"simulations.benchmarks.{cmd_name}.command")
        return typer.main.get_command(module.app)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Benchmarks"):
            formatter.write_dl(list(BENCHMARKS.items()))


app = typer.Typer(cls=_Lazy, no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def _root() -> None:
    """Compare strategies, forecasts, traders, market mechanisms, scale, deployments."""
