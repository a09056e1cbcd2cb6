"""One simulated run: pick an engine, carry both apps, then compare with the references."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from common.config import Settings, dump, load
from common.errors import InputError
from common.files import open_folder, write_whole
from simulations.engine.choice import choose_engine

if TYPE_CHECKING:
    from flwr.clientapp.typing import ClientAppCallable

    from simulations.engine.block import Block

CONFIG_FILE = "config.yaml"
_LOCK = ".lock"
_RUN_ID = 7


def new_directory(out: Path) -> Path:
    """Create the run directory.

    Raises InputError where it holds something already: a run, the households' data, any file.
    """
    open_folder(out)
    held = sorted(path.name for path in out.iterdir() if path.name != _LOCK)
    if held:
        what = "a run" if CONFIG_FILE in held else held[0]
        raise InputError(f"--out {out}: already holds {what}: choose a new folder")
    return out.resolve()


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold the run directory: no other process writes into it meanwhile.

    Raises InputError where one does. A killed process lets go by itself.
    """
    file = directory / _LOCK
    try:
        lock = file.open("a")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{directory}: another process is at work on this run") from None
        yield


def stored_settings(directory: Path, **run: str | None) -> Settings:
    """Settings of a run begun earlier, with these keys of ``run`` where they are not None.

    Raises InputError for a folder that holds no run.
    """
    file = directory / CONFIG_FILE
    if not file.is_file():
        raise InputError(f"--resume {directory}: holds no run (no {CONFIG_FILE})")
    given = {key: value for key, value in run.items() if value is not None}
    return load(str(file), run=given)


def told_config(settings: Settings, directory: Path) -> dict[str, bool | float | int | str]:
    """What both apps of a simulation in ``directory`` are told by the engine."""
    return {
        "config": "",
        "set": "",
        "out": str(directory),
        "settings": json.dumps(json.loads(settings.model_dump_json())),
        "simulation": True,
    }


def simulate(
    settings: Settings,
    directory: Path,
    *,
    block: "type[Block] | None" = None,
    client_app: "ClientAppCallable | None" = None,
) -> None:
    """Run both apps on the engine of the settings; raises what the ServerApp raises.

    ``block``: what actors of the batched engine run, to measure it. ``client_app``: what the loop
    asks in place of the household's app, to change what it is told.
    """
    write_whole(directory / CONFIG_FILE, dump(settings), durable=False)
    run_config = told_config(settings, directory)
    count = settings.run.households
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    engine = settings.run.engine
    if engine == "auto":
        engine = choose_engine(settings, os.cpu_count() or 1)
    if engine == "loop":
        from fl_client.app import app as household_app
        from fl_server.app import app as server_app
        from simulations.engine import loop

        loop.run(server_app, client_app or household_app, count, run_config, _RUN_ID)
    elif engine == "batched":
        from fl_server.app import app as server_app
        from simulations.engine import batched

        actors, address = settings.run.actors, settings.run.ray_address
        batched.run(server_app, count, run_config, _RUN_ID, actors, address, block or batched.Block)
    else:
        from simulations.engine import flower

        flower.run(count, run_config, _RUN_ID, settings.run.actors, directory)
