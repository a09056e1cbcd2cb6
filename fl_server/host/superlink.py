"""The SuperLink with bounds: what one household may send, how often, and in whose name.

    python -m fl_server.host.superlink ARGUMENTS OF flower-superlink

Puts the guard behind Flower's node authentication and tells of every refused call, without keys or
contents. Private: written for one release.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
from flwr.common.constant import PUBLIC_KEY_HEADER, TIMESTAMP_HEADER
from flwr.supercore.error import FlowerError

from common.errors import InputError
from common.flower_release import SUPERLINK, check_release
from fl_server.host.doors import watch_the_door
from fl_server.host.endurance import keep_executor, wait_for_locks
from fl_server.host.folder import FOLDER_VARIABLE, Folder
from fl_server.host.guard import Guard, Limits
from fl_server.host.journal import journal, journal_to
from fl_server.host.replies import hand_out_whole_replies

_FLEET = "/flwr.proto.Fleet/"
_LINES_PER_MINUTE = 60


class Refusals:
    """Writes a line for each refused call, though no more than so many a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._minute, self._lines, self._left_out = -1.0, 0, 0

    def tell(self, call: str, why: str, peer: str) -> None:
        """Note one. Whoever floods the port must not fill the disk as well."""
        with self._lock:
            minute = self._clock() // 60
            if minute != self._minute:
                self._minute, self._lines = minute, 0
            if self._lines >= _LINES_PER_MINUTE:
                self._left_out += 1
                return
            self._lines += 1
            left_out, self._left_out = self._left_out, 0
            journal("call refused", call=call, why=why[:200], peer=peer, left_out=left_out)


class _Told:
    """A call's context that tells of its refusal."""

    def __init__(self, context: Any, call: str, refusals: Refusals) -> None:
        self._context, self._call, self._refusals = context, call, refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def abort(self, code: grpc.StatusCode, why: str) -> None:
        self._refusals.tell(self._call, why, self._context.peer())
        self._context.abort(code, why)


def install(guard: Guard, limits: Limits, refusals: Refusals, *, closed: bool) -> None:
    """Put the guard behind Flower's node authentication, and bound a message's size.

    ``closed``: only keys that were admitted connect.
    """
    link = SUPERLINK.load()
    vars(link)["GRPC_MAX_MESSAGE_LENGTH"] = limits.message_bytes
    interceptor = link.NodeAuthServerInterceptor
    authenticate = interceptor.intercept_service

    def intercept(self: Any, continuation: Callable[[Any], Any], details: Any) -> Any:
        if not details.method.startswith(_FLEET):
            return authenticate(self, continuation, details)
        call = details.method.removeprefix(_FLEET)
        headers = dict(details.invocation_metadata)
        key, stamp = headers.get(PUBLIC_KEY_HEADER, b""), headers.get(TIMESTAMP_HEADER, "")

        def admitted() -> bool:
            return self.state_factory.state().get_node_id_by_public_key(key) is not None

        def guarded(handler: Any) -> Any:
            def answer(request: Any, context: Any) -> Any:
                if call == "RegisterNode" and not closed:
                    return handler.unary_unary(request, context)
                if call == "RegisterNode" or not admitted():
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this key is not admitted")
                why = guard.refuse(key, stamp, request)
                if why is not None:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, why)
                try:
                    response = handler.unary_unary(request, context)
                except FlowerError:
                    if call != "ActivateNode":
                        raise
                    # Flower would write the key to its log.
                    why = "this household's last connection has not lapsed yet"
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
                guard.hand_out(key, response)
                return response

            return _with(handler, answer)

        def told(handler: Any) -> Any:
            return _with(
                handler,
                lambda request, context: handler.unary_unary(
                    request, _Told(context, call, refusals)
                ),
            )

        return told(authenticate(self, lambda d: guarded(continuation(d)), details))

    interceptor.intercept_service = intercept


def _with(handler: Any, function: Callable[[Any, Any], Any]) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        function,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def limits_from_environment() -> Limits:
    """Read the limits that ``fedwatt server start`` sets."""
    return Limits(
        int(float(os.environ.get("FEDWATT_MESSAGE_MB", "64")) * 1e6),
        float(os.environ.get("FEDWATT_REQUESTS_PER_S", "20")),
        float(os.environ.get("FEDWATT_MB_PER_HOUR", "1000")) * 1e6,
    )


def main() -> None:
    """Run ``flower-superlink`` with the guard."""
    try:
        check_release("the bounds of the SuperLink")
    except InputError as error:
        sys.exit(f"fedwatt: {error}")
    from flwr.superlink.cli.flower_superlink import flower_superlink

    limits = limits_from_environment()
    if FOLDER_VARIABLE in os.environ:
        folder = Folder(Path(os.environ[FOLDER_VARIABLE]))
        journal_to(folder.log / "link.jsonl")
        deployment = folder.deployment()
        trusted = None if deployment.insecure else folder.tls / "ca.crt"
        watch_the_door(
            deployment.fleet_port, trusted, limits.message_bytes, closed=not deployment.insecure
        )
    install(Guard(limits), limits, Refusals(), closed="--enable-supernode-auth" in sys.argv)
    hand_out_whole_replies()
    wait_for_locks()
    keep_executor()
    sys.argv[0] = "flower-superlink"
    # Every poll would be a line.
    logging.getLogger("uvicorn.access").addFilter(lambda record: False)
    flower_superlink()


if __name__ == "__main__":
    main()
