"""A household on its own host: Flower's ClientApp process runs the fedwatt installed here.

Flower hands every household the code of a run with its first message. Here that code is left
unread: a coordinator may ask, but never bring a program along. Private: written for one release.
"""

import argparse
import importlib
import logging
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import flwr
from flwr.app import Context, Message

from common.errors import InputError
from common.messages import MessageError

log = logging.getLogger("fedwatt")
SUPPORTED = "1.39."
# What Flower's task runner on this host may be asked to start besides a ClientApp.
_REFUSED = ("flwr-agentapp", "flwr-connector", "flwr-model", "flwr-serverapp", "flwr-simulation")


def write_commands(folder: Path, python: str = sys.executable) -> Path:
    """Write the commands that Flower's task runner finds first; returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    start = f"#!/bin/sh\nexec {shlex.quote(python)}"
    _write(folder / "flwr-clientapp", f'{start} -m fl_client.host "$@"\n')
    for name in _REFUSED:
        _write(
            folder / name, f'#!/bin/sh\necho "{name}: not run on a household\'s host" >&2\nexit 1\n'
        )
    return folder


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o700)


def check_release() -> None:
    """Raise InputError for a Flower that this module was not written for."""
    if not flwr.__version__.startswith(SUPPORTED):
        raise InputError(f"flwr {flwr.__version__}: a household's host needs {SUPPORTED}x")


def clientapp() -> None:
    """``flwr-clientapp``, with this host's own ClientApp whatever code came with the run."""
    check_release()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments = _arguments().parse_args()
    _leave_out_the_installer()
    # Not the command's own module: it loads the whole SuperNode, which doubles the start.
    process = importlib.import_module("flwr.supernode.runtime.run_clientapp")

    def load(*_: object) -> object:
        from fl_client.app import app

        return discreet(app)

    vars(process)["get_load_client_app_fn"] = lambda **_: load
    trusted = arguments.root_certificates
    process.run_clientapp(
        runtime_api_address=arguments.runtime_api_address,
        token=arguments.token,
        insecure=arguments.insecure,
        certificates=None if trusted is None else Path(trusted).read_bytes(),
        parent_pid=arguments.parent_pid,
        runtime_dependency_install=False,
    )


def _leave_out_the_installer() -> None:
    """Put nothing in the place of what would install a run's code.

    Loading it, with the command line it belongs to, would be a third of a message's CPU time.
    """
    nothing = ModuleType("flwr.cli.install")
    vars(nothing)["install_from_fab"] = lambda *_, **__: None
    sys.modules[nothing.__name__] = nothing


def discreet(app: Callable[[Message, Context], Message]) -> Callable[..., Message]:
    """The app, with its faults kept at home: their text may hold a path or a reading.

    The coordinator is told what is its own business, and otherwise only the kind of fault.
    """

    def answer(message: Message, context: Context) -> Message:
        try:
            return app(message, context)
        except (MessageError, KeyError):
            raise
        except Exception as error:
            log.error("%s", error, exc_info=error)
            raise HouseholdError(type(error).__name__) from None

    return answer


class HouseholdError(RuntimeError):
    """Something went wrong in the household; its own log says what."""


def _arguments() -> argparse.ArgumentParser:
    """What Flower's task runner passes on."""
    parser = argparse.ArgumentParser("flwr-clientapp")
    parser.add_argument("--runtime-api-address", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--root-certificates")
    parser.add_argument("--parent-pid", type=int)
    return parser


if __name__ == "__main__":
    clientapp()
