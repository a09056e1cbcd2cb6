"""Which Flower this was written for, and every name of its private parts that is used or replaced.

Flower promises its apps, messages, grids and strategies; what is listed here it does not. A move to
another release begins with this list and its test.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

import flwr

from common.errors import InputError

SUPPORTED = "1.39."
"""Beginning of the versions that were tried."""


@dataclass(frozen=True)
class Private:
    """A module of Flower's and the names in it that are used, and need not be there for ever.

    ``names`` may go into classes: ``Class.method``.
    """

    path: str
    names: tuple[str, ...]

    def missing(self) -> list[str]:
        """The names that this Flower has not."""
        try:
            module = importlib.import_module(self.path)
        except ImportError:
            return [self.path]
        return [f"{self.path}.{name}" for name in self.names if not _has(module, name)]

    def load(self) -> ModuleType:
        """The module itself: a package may give a function of the same name.

        Raises InputError where one of the names is not there: what would replace it would replace
        nothing, and nobody would notice.
        """
        if gone := self.missing():
            raise InputError(f"flwr {flwr.__version__} has no {gone[0]}: {SUPPORTED}x is needed")
        return importlib.import_module(self.path)


CLIENTAPP = Private(
    "flwr.supernode.runtime.run_clientapp", ("get_load_client_app_fn", "run_clientapp")
)
SUPEREXEC = Private("flwr.supercore.superexec.run_superexec", ("get_executor",))
SUPERNODE = Private("flwr.supernode.start_client_internal", ("time", "subprocess"))
SUPERLINK = Private(
    "flwr.superlink.cli.flower_superlink",
    (
        "GRPC_MAX_MESSAGE_LENGTH",
        "NodeAuthServerInterceptor.intercept_service",
        "SuperLinkLifespan._start_superexec_if_needed",
    ),
)
DATABASE = Private("flwr.supercore.sql_mixin", ("SQLITE_PRAGMAS",))
LINK_STATE = Private(
    "flwr.server.superlink.linkstate.sql_linkstate", ("SqlLinkState.get_message_res",)
)
HTTP_GRID = Private("flwr.superlink.grid.http_grid", ("inflate_object_from_contents",))
SIMULATION = Private("flwr.simulation.run_simulation", ("_run_simulation",))

PRIVATE = (
    CLIENTAPP,
    SUPEREXEC,
    SUPERNODE,
    SUPERLINK,
    DATABASE,
    LINK_STATE,
    HTTP_GRID,
    SIMULATION,
)


def check_release(what: str) -> None:
    """Raise InputError for a Flower that ``what`` was not written for."""
    if not flwr.__version__.startswith(SUPPORTED):
        raise InputError(f"flwr {flwr.__version__}: {what} needs {SUPPORTED}x")


def _has(owner: object, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True
