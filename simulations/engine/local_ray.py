"""Ray on this machine: for the processes of one run, and for nobody else on the network.

Ray listens on every address of the machine, whatever it is told, and runs what it is sent. A token
that only this process and its children know keeps strangers out (Ray 2.55: RAY_AUTH_MODE).
"""

import os
import secrets
import signal
from types import FrameType

_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


def only_for_this_process() -> None:
    """Let the Ray that is started next refuse whoever does not know its token.

    To be called before Ray is imported: it reads the variables then, once a process.
    """
    if os.environ.get(_MODE) != "token":
        os.environ[_MODE] = "token"
        os.environ[_TOKEN] = secrets.token_hex(32)


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, its children with it.

    To be called when Ray has started: its own handler aborts the process with a stack trace.
    """
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
