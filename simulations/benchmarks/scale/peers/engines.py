"""This project's engines: the household's own ClientApp, and the coordinator's own rounds.

As in a run, but that no market opens: households join, then model round follows model round.
A run would send each new model to all and have it measured; the other ways do not, so this does
not either.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.arrays import Floats32
from common.config import Settings
from common.data.source import source_of
from common.errors import RunError
from common.messages import encode_arrays, view_arrays
from common.model_messages import instruction
from fl_server.roster import Roster
from fl_server.rounds import Rounds
from fl_server.start import gather, join_message
from fl_server.strategy.fedavg import FedAvg
from simulations.benchmarks.scale.peers.task import (
    START,
    RoundClock,
    Weights,
    read_settings,
    read_weights,
)
from simulations.simulate import told_config

_RUN_ID = 7


def carry_loop(directory: Path, rounds: int, cores: int, clock: RoundClock) -> dict[str, Floats32]:
    """Run the task on ``--engine loop``, in this process, on one core; return the last model."""
    from fl_client.app import app as household
    from simulations.engine import loop

    settings, server, model = _server(directory, rounds, clock)
    told = told_config(settings, directory / "loop")
    loop.run(server, household, settings.run.households, told, _RUN_ID)
    return model


def carry_batched(
    directory: Path, rounds: int, cores: int, clock: RoundClock
) -> dict[str, Floats32]:
    """Run the task on ``--engine batched`` with ``cores`` actors; return the last model."""
    from simulations.engine import batched

    settings, server, model = _server(directory, rounds, clock)
    told = told_config(settings, directory / "batched")
    batched.run(server, settings.run.households, told, _RUN_ID, cores)
    return model


def _server(
    directory: Path, rounds: int, clock: RoundClock
) -> tuple[Settings, ServerApp, dict[str, Floats32]]:
    """The settings, a ServerApp that runs the rounds, and where it leaves the last model."""
    settings, start = read_settings(directory), read_weights(directory / START)
    model: dict[str, Floats32] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        model.update(_rounds(grid, settings, start, rounds, clock))

    return settings, server, model


def _rounds(
    grid: Grid, settings: Settings, start: Weights, rounds: int, clock: RoundClock
) -> dict[str, Floats32]:
    fl, seed = settings.fl, settings.run.seed
    join = join_message(settings, settings.digest(), source_of(settings).start(), 0)
    joined = gather(grid, settings, join)
    runner = Rounds(
        FedAvg(fraction_train=1.0, fraction_evaluate=0.0, seed=seed),
        Roster(grid, {node: one.name for node, one in joined.items()}),
        encode_arrays(dict(start)),
        seed=seed,
        max_update_bytes=int(fl.max_update_mb * 1e6),
        deadline_s=settings.run.reply_deadline_s,
        local_steps=fl.local_steps,
    )
    clock.mark(lambda: view_arrays(runner.arrays))
    for round_ in range(1, rounds + 1):
        screening = runner.run(round_, instruction(-1), instruction(-1)).screening
        clock.mark(lambda: view_arrays(runner.arrays))
        if screening.accepted < len(joined) or screening.clipped:
            raise RunError(
                f"round {round_}: {screening.accepted} of {len(joined)} updates were taken,"
                f" {screening.clipped} of them shortened: no plain average"
            )
    return {name: array.copy() for name, array in view_arrays(runner.arrays).items()}
