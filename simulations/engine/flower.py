"""``--engine flower``: Flower's own simulation engine on Ray, in one process tree, offline.

``flwr run`` needs a background SuperLink and exits 0 when the ServerApp fails. Flower's own
``flwr-simulation`` process stands on a function that takes a run config and raises instead; it is
private, so this module checks the version it was written for.
"""

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from common.flower_release import SIMULATION, check_release
from simulations.engine.local_ray import import_ray
from simulations.engine.loop import RunConfig, server_context


def run(clients: int, run_config: RunConfig, run_id: int, actors: int, directory: Path) -> None:
    """Run both apps with ``clients`` virtual SuperNodes; raises what the ServerApp raises.

    ``directory`` takes a small app description: Flower reads a run config only through one.
    """
    check_release("--engine flower (take --engine batched, or flwr run)")
    ray = import_ray()
    from flwr.supercore.constant import NOOP_FEDERATION_ID
    from flwr.supercore.run import Run
    from flwr.supercore.telemetry import EventType

    logging.getLogger("flwr").setLevel(logging.ERROR)
    context = server_context(run_id, run_config)
    task = Run.create_empty(run_id=run_id)
    task.primary_task_id = 1
    task.federation_id = NOOP_FEDERATION_ID
    task.override_config = run_config
    ray_init = ray.init

    def end(number: int, _: FrameType | None) -> None:
        # Flower's threads would go on to the end of the run, and say of each call that Ray no
        # longer answers; households' files are whole always.
        logging.disable()
        try:
            ray.shutdown()
        finally:  # whatever Ray was in the middle of
            os._exit(128 + number)

    def init(*given: Any, **named: Any) -> Any:
        started = ray_init(*given, **named)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, end)
        return started

    # Flower starts Ray by itself, deep inside, and Ray takes SIGTERM over.
    ray.init = init
    SIMULATION.load()._run_simulation(
        num_supernodes=clients,
        server_app_attr="simulations.engine.whole:app",
        client_app_attr="fl_client.app:app",
        backend_config={
            "init_args": {
                "num_cpus": actors or os.cpu_count() or 1,
                "include_dashboard": False,
                "logging_level": logging.ERROR,
                "log_to_driver": False,
            },
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        },
        app_dir=str(_app_directory(directory, run_config)),
        run=task,
        server_app_context=context,
        is_app=True,
        exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
    )


def _app_directory(directory: Path, run_config: RunConfig) -> Path:
    app = directory / ".app"
    app.mkdir(exist_ok=True)
    keys = "".join(f'{key} = ""\n' for key in run_config)
    (app / "pyproject.toml").write_text(_PROJECT + keys)
    return app


_PROJECT = """\
[project]
name = "fedwatt-run"
version = "0.1.0"

[tool.flwr.app]
publisher = "fedwatt"

[tool.flwr.app.components]
serverapp = "simulations.engine.whole:app"
clientapp = "fl_client.app:app"

[tool.flwr.app.config]
"""
