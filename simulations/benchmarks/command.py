"""``fedwatt benchmark``: one subcommand each, imported only when it is called."""

from typing import ClassVar

from common.console import Lazy, group

DOES = {
    "strategies": "aggregation strategies under dials, attacks, compression, privacy",
    "truth": "strategies on small problems whose answer is published",
    "forecasts": "federated against local, pooled and plain forecasts",
    "netload": "net load of the next day: federated, alone, pooled, LightGBM",
    "traders": "what traders save against the optimum",
    "newcomers": "what others learned is worth to homes that have just joined",
    "market": "clearing mechanisms: welfare, truthfulness, speed",
    "scale": "time of a simulation against its number of households",
    "deployment": "round trip, memory and traffic of real households on one machine",
}


class _Benchmarks(Lazy):
    modules: ClassVar = {
        name: (f"simulations.benchmarks.{name}.command", does) for name, does in DOES.items()
    }


app = group(cls=_Benchmarks)


@app.callback()
def _root() -> None:
    """Compare strategies, forecasts, traders, newcomers, mechanisms, scale, deployments."""
