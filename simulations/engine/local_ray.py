"""Ray on this machine: for the processes of one run, and for nobody else on the network.

Ray listens on every address of the machine, whatever it is told, and runs what it is sent. A token
that only this process and its children know keeps strangers out (Ray 2.55: RAY_AUTH_MODE).
"""

import logging
import os
import secrets
import signal
import sys
from types import FrameType
from typing import Any

from common.errors import RunError

_MODE, _TOKEN, _ADDRESS = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS"


def import_ray(private: bool = True) -> Any:
    """Ray; what it starts, if ``private``, refuses whoever does not know a token of this process.

    The one place that imports Ray: it reads the variables then, once a process.
    Raises RunError where somebody imported it before, without them.
    """
    if private and os.environ.get(_MODE) != "token":
        if "ray" in sys.modules:
            raise RunError(
                "Ray was imported before the run, without a token: anybody on the network "
                "could use it. Import it later, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN first"
            )
        os.environ[_MODE] = "token"
        os.environ[_TOKEN] = secrets.token_hex(32)
    if private:
        # Flower asks for any Ray there is: one that somebody has begun on this machine, or had.
        os.environ[_ADDRESS] = "local"
    import ray

    return ray


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, its children with it.

    To be called when Ray has started: its own handler aborts the process with a stack trace.
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    # A connection that is just being given back would tell of the interrupt, at length.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    raise KeyboardInterrupt(signal.Signals(number).name)
