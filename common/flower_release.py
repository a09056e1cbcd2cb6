"""Which releases of Flower were tried, and every name of their private parts that is used.

Flower promises its apps, messages, grids and strategies; what is listed here it does not. A move to
another release begins with this list and its test.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType

import flwr

from common.errors import InputError

TESTED = ("1.39.", "1.42.")
"""Beginnings of the versions that were tried."""

_NEEDED = " or ".join(f"{version}x" for version in TESTED)


@dataclass(frozen=True)
class Private:
    """A module of Flower's and the names in it that are used, and need not be there for ever.

    ``names`` may go into classes: ``Class.method``. ``over_http``: only where ``speaks_http``.
    """

    path: str
    names: tuple[str, ...]
    over_http: bool = False

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
            raise InputError(f"flwr {flwr.__version__} has no {gone[0]}: {_NEEDED} is needed")
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
SUPERLINK_APP = Private("flwr.superlink.main", ("create_app",))
FLEET_ROUTES = Private(
    "flwr.supercore.protobuf.translation", ("PROTOBUF_REQUEST_TYPES",), over_http=True
)
FLEET_HANDLERS = Private(
    "flwr.superlink.servicer.fleet.fleet_handlers", ("activate_node",), over_http=True
)
FLEET_HEADERS = Private(
    "flwr.supercore.constant",
    ("FLEET_HTTP_PUBLIC_KEY_HEADER", "FLEET_HTTP_SIGNATURE_HEADER"),
    over_http=True,
)
NODE_CONNECTION = Private(
    "flwr.supernode.fleet_http_connection",
    ("FleetHttpClient.from_server_address", "http_request_response"),
    over_http=True,
)

PRIVATE = (
    CLIENTAPP,
    SUPEREXEC,
    SUPERNODE,
    SUPERLINK,
    DATABASE,
    LINK_STATE,
    HTTP_GRID,
    SIMULATION,
    SUPERLINK_APP,
    FLEET_ROUTES,
    FLEET_HANDLERS,
    FLEET_HEADERS,
    NODE_CONNECTION,
)


def check_release(what: str) -> None:
    """Raise InputError for a Flower that ``what`` was not written for."""
    if not flwr.__version__.startswith(TESTED):
        raise InputError(f"flwr {flwr.__version__}: {what} needs {_NEEDED}")


def release() -> str:
    """Version of the Flower that is installed."""
    return flwr.__version__


def speaks_http() -> bool:
    """Whether SuperLink and SuperNodes of this Flower speak HTTP with each other, as since 1.40.

    Before, they speak gRPC alone. Since then a SuperNode has no gRPC of its own any more, and a
    SuperLink only where ``GRPC_FLEET`` is in its environment.
    """
    return not flwr.__version__.startswith("1.39.")


GRPC_FLEET = "FLWR_INTERNAL_GRPC_FLEET_API"
"""Set to 1, it lets a SuperLink since 1.40 serve SuperNodes by gRPC as well."""


def _has(owner: object, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True
