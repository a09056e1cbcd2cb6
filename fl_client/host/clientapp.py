"""A household on its own host: Flower's ClientApp process runs the fedwatt installed here.

Flower hands every household the code of a run with its first message. Here that code is left
unread: a coordinator may ask, but never bring a program along. Private: written for one release.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from flwr.app import Context, Message
from flwr.supercore.superexec.executor.types import ExecutionSpec

from common.flower_release import CLIENTAPP, check_release
from common.messages import MessageError
from common.named import allow_only

log = logging.getLogger("fedwatt")


def check_host() -> None:
    """Raise InputError for a Flower that a household's host was not written for."""
    check_release("a household's host")


def clientapp_module() -> ModuleType:
    """Flower's ClientApp process, with this host's own ClientApp whatever code comes with a run."""
    check_host()
    _leave_out_the_installer()
    # Not the command's own module: it loads the whole SuperNode, which doubles the start.
    process = CLIENTAPP.load()

    def load(*_: object) -> object:
        from fl_client.app import app

        return discreet(confined(app))

    vars(process)["get_load_client_app_fn"] = lambda **_: load
    return process


def confined(app: Callable[[Message, Context], Message]) -> Callable[..., Message]:
    """The app, running no code that the household's own settings.yaml does not name."""

    def answer(message: Message, context: Context) -> Message:
        from fl_client.membership import own_code

        home = Path(str(context.node_config["state"])).parent
        allow_only(own_code(home / "settings.yaml"))
        return app(message, context)

    return answer


def answer(spec: ExecutionSpec) -> None:
    """Answer the message of one task, and raise SystemExit."""
    trusted = spec.root_certificates_path
    clientapp_module().run_clientapp(
        runtime_api_address=spec.runtime_api_address,
        token=spec.token,
        insecure=spec.insecure,
        certificates=None if trusted is None else Path(trusted).read_bytes(),
        parent_pid=spec.parent_pid,
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
        except MessageError:
            raise
        except Exception as error:
            log.error("%s", error, exc_info=error)
            raise HouseholdError(type(error).__name__) from None

    return answer


class HouseholdError(RuntimeError):
    """Something went wrong in the household; its own log says what."""
