"""The ServerApp of ``flwr run .``: as many households as Flower has nodes, then the report.

What runs is the coordinator's own ServerApp. Around it stands what ``fedwatt simulate`` does as
well, and a deployment does not: the checks before, the summary and the report after the run.
"""

import time

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import Settings, for_nodes, from_run_config, run_directory
from common.errors import InputError
from fl_server.start import run
from simulations.engine.whole import Whole
from simulations.preflight import preflight
from simulations.report import write_report
from simulations.summary import summarise

app = ServerApp()

_POLL_S = 0.2
# Flower registers the nodes of a simulation in one go, while the ServerApp starts.
_STEADY_S = 3.0


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one community to its end and draw its report.

    Raises InputError for settings, data or a number of nodes that the run could not use.
    """
    begin = time.monotonic()
    settings = from_run_config(context.run_config)
    settings = _of_nodes(settings, _nodes(grid, settings.run.node_deadline_s))
    checked = preflight(settings)
    if checked.replaced is not None:
        # Households open the data by the run config, which cannot be changed any more.
        raise InputError(
            f"{checked.replaced}? then say so: --run-config 'set=\"data.source=synthetic\"'"
        )
    for line in checked.said:
        print(line, flush=True)
    directory = run_directory(context.run_config, context.run_id)
    run(Whole(grid), settings, directory, durable=False)
    summarise(directory, settings, time.monotonic() - begin)
    print(f"report: {write_report(directory)}", flush=True)


def _of_nodes(settings: Settings, nodes: int) -> Settings:
    """The settings for this many nodes. Raises InputError where more households were asked for."""
    settings = for_nodes(settings, nodes)
    households = settings.run.households
    if households > nodes:
        raise InputError(
            f"run.households = {households}, and Flower started {nodes} nodes: add "
            f"--federation-config 'num-supernodes={households}' to flwr run, or leave "
            "run.households out: every node is a household then"
        )
    return settings


def _nodes(grid: Grid, patience_s: float) -> int:
    """The number of nodes, once it does not grow any more. Raises InputError where none comes."""
    end = time.monotonic() + patience_s
    count, since = 0, time.monotonic()
    while True:
        found, now = len(list(grid.get_node_ids())), time.monotonic()
        if found != count:
            count, since = found, now
        if count and now - since >= _STEADY_S:
            return count
        if now > end:
            raise InputError("no node connected: is a SuperNode running?")
        time.sleep(_POLL_S)
