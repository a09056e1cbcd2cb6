"""Households over HTTP: a port of their own, which leads to the Fleet API and nowhere else.

Since 1.40 Flower serves all of its APIs on one port, and the one that commands the run knows no
login. That port stays on loopback, without the Fleet API; the households' is opened here.
Private: written for the releases that ``common.flower_release`` names.
"""

import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import uvicorn
from flwr.supercore.error import FlowerError

from common.errors import InputError
from common.flower_release import FLEET_HANDLERS, FLEET_ROUTES, SUPERLINK_APP
from fl_server.host.fleet_door import FLEET, App, Event, FleetDoor, Receive, Scope, Send
from fl_server.host.passage import NOT_LAPSED, Passage
from fl_server.host.refusals import Refusals

# Longer than a household is silent between two polls: a handshake costs more than the call.
_KEEP_S = 75


@dataclass(frozen=True)
class Where:
    """Where households connect; ``certificate`` and its ``key`` are files, None without TLS."""

    host: str
    port: int
    certificate: str | None
    key: str | None


def guard_http(
    passage: Passage, refusals: Refusals, message_bytes: int, where: Where | None
) -> None:
    """Open ``where`` to households; None: they come by gRPC, and HTTP stays closed to them."""
    main = SUPERLINK_APP.load()
    create = main.create_app
    _keep_keys_out_of_the_log()

    def create_app(*arguments: Any, **more: Any) -> "_Inside":
        app = create(*arguments, **more)
        if where is None:
            return _Inside(app, None)
        factory = app.state.linkstate_factory
        door = FleetDoor(
            app,
            fleet_calls(),
            lambda key: factory.state().get_node_id_by_public_key(key),
            passage,
            refusals,
            message_bytes,
        )
        return _Inside(app, _Outside(door, where))

    vars(main)["create_app"] = create_app


def fleet_calls() -> dict[str, type]:
    """Request type of each call of the Fleet API, by its path."""
    types = vars(FLEET_ROUTES.load())["PROTOBUF_REQUEST_TYPES"]
    return {
        path: kind
        for (method, path), kind in types.items()
        if method == "POST" and path.startswith(FLEET)
    }


class _Inside:
    """Flower's app on loopback, without the Fleet API: by this way no call would be guarded."""

    def __init__(self, app: App, outside: "_Outside | None") -> None:
        self._app, self._outside = app, outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self._outside is not None:
            outside = self._outside

            async def told(event: Event) -> None:
                if event["type"] == "lifespan.startup.complete":
                    outside.open()
                await send(event)

            try:
                await self._app(scope, receive, told)
            finally:
                outside.close()
        elif scope["type"] == "http" and scope["path"].startswith(FLEET.rstrip("/")):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)


class _Outside:
    """The households' port, served from a thread of its own: those outside hold nobody inside up.

    Raises InputError where the port is taken.
    """

    def __init__(self, door: FleetDoor, where: Where) -> None:
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        host = where.host.strip("[]")
        try:
            self._plug = socket.create_server((host, where.port), family=family, backlog=2048)
        except OSError as error:
            raise InputError(f"{where.host}:{where.port}: {error.strerror}") from None
        self._server = uvicorn.Server(
            uvicorn.Config(
                door,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_S,
                ssl_certfile=where.certificate,
                ssl_keyfile=where.key,
            )
        )
        self._closing = False

    def open(self) -> None:
        """Begin to serve."""
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._closing = True
        self._server.should_exit = True

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._plug])
        finally:
            time.sleep(0.5)
            if not self._closing:
                # A SuperLink that households cannot reach any more looks sound from inside.
                print("fedwatt: the households' port has failed", file=sys.stderr, flush=True)
                os._exit(1)


def _keep_keys_out_of_the_log() -> None:
    """Flower's handler of a refused activation names the key in its error, which is logged."""
    handlers = FLEET_HANDLERS.load()
    activate = handlers.activate_node

    def activate_node(*arguments: Any, **more: Any) -> Any:
        try:
            return activate(*arguments, **more)
        except FlowerError as error:
            raise FlowerError(error.code, NOT_LAPSED, NOT_LAPSED) from None

    vars(handlers)["activate_node"] = activate_node
