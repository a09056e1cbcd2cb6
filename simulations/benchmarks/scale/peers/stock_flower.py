"""Flower as it comes: its ``run_simulation`` on Ray, its FedAvg, and a ClientApp of a page.

The ClientApp is made as Flower's quickstart makes it; a process keeps the homes it has read, as
the quickstart keeps its data set. Nothing of this project but the model and its training is in it.
"""

import logging
from functools import lru_cache
from pathlib import Path

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from common.arrays import Floats32
from common.config import Settings
from common.errors import RunError
from common.forecast.forecaster import load_weights
from common.forecast.transformer import blank_model
from common.messages import ARRAYS, CONFIG, METRICS, NUM_EXAMPLES
from common.model_messages import ROUND
from simulations.benchmarks.scale.peers.task import (
    START,
    Home,
    RoundClock,
    one_thread,
    read_home,
    read_settings,
    read_weights,
    update,
)
from simulations.engine.local_ray import import_ray

_read_home = lru_cache(maxsize=None)(read_home)
_read_settings = lru_cache(maxsize=None)(read_settings)


def carry(directory: Path, rounds: int, cores: int, clock: RoundClock) -> dict[str, Floats32]:
    """Run ``rounds`` rounds with ``cores`` of Flower's actors; return the last model.

    Raises RunError where Flower ends without one.
    """
    settings = read_settings(directory)
    import_ray()
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    model: dict[str, Floats32] = {}
    run_simulation(
        _server_app(directory, settings, rounds, clock, model),
        _client_app(directory),
        settings.run.households,
        backend_config={
            "init_args": {
                "num_cpus": cores,
                "include_dashboard": False,
                "logging_level": logging.ERROR,
                "log_to_driver": False,
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
    )
    if not model:
        raise RunError("Flower's simulation ended without a model")
    return model


def _server_app(
    directory: Path,
    settings: Settings,
    rounds: int,
    clock: RoundClock,
    model: dict[str, Floats32],
) -> ServerApp:
    app = ServerApp()
    count = settings.run.households

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=count, min_available_nodes=count)
        start = blank_model(settings.model.preset)
        load_weights(start, read_weights(directory / START))

        def rounds_end(round_: int, arrays: ArrayRecord) -> MetricRecord | None:
            clock.mark(lambda: _weights(arrays))
            return None

        result = strategy.start(
            grid, ArrayRecord(start.state_dict()), rounds, evaluate_fn=rounds_end
        )
        if len(result.train_metrics_clientapp) == rounds:
            model.update(_weights(result.arrays))

    return app


def _weights(arrays: ArrayRecord) -> dict[str, Floats32]:
    return {name: array.numpy() for name, array in arrays.items()}


def _client_app(directory: Path) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _train(directory, message, context)

    return app


def _train(directory: Path, message: Message, context: Context) -> Message:
    settings = _read_settings(directory)
    one_thread(settings)
    home: Home = _read_home(directory, int(context.node_config["partition-id"]))
    model = blank_model(settings.model.preset)
    model.load_state_dict(message.content.array_records[ARRAYS].to_torch_state_dict())
    round_ = message.content.config_records[CONFIG][ROUND]
    assert isinstance(round_, int)
    update(model, home, settings, round_)
    arrays = ArrayRecord(model.state_dict())
    metrics = MetricRecord({NUM_EXAMPLES: len(home.windows)})
    return Message(RecordDict({ARRAYS: arrays, METRICS: metrics}), reply_to=message)
