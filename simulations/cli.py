"""The ``fedwatt`` command: one line per subcommand, each imported only when it is called."""

from typing import ClassVar

from common.console import Lazy, Version, group, run

COMMANDS = {
    "simulate": "run N households: forecasts, market, federated rounds",
    "community": "broker, coordinator and households on emulated houses, to look at",
    "train": "train a forecaster locally or centrally, without federation",
    "benchmark": "compare strategies, forecasts, traders, market mechanisms, scale, deployments",
    "market": "clear a book of orders",
    "ledger": "verify a ledger, print bills",
    "data": "generate, fetch, import, check household data",
    "server": "the coordinator on its own host",
    "client": "a household on its own host",
    "status": "state of a server or household folder",
    "report": "draw report.html of a run",
    "forecast": "what a household expects of the next day, week and month",
    "config": "show the settings, explain a setting",
}

_ELSEWHERE = {
    "benchmark": "simulations.benchmarks.command",
    "server": "fl_server.host.commands",
    "client": "fl_client.host.commands",
}


class _Commands(Lazy):
    modules: ClassVar = {
        name: (_ELSEWHERE.get(name, f"simulations.commands.{name}"), does)
        for name, does in COMMANDS.items()
    }


app = group(cls=_Commands)


@app.callback()
def _root(version: Version = False) -> None:
    """Households that forecast together and trade with each other."""


def main() -> None:
    """Run ``fedwatt``."""
    run(app, "fedwatt")
