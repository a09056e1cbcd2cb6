"""Households by gRPC: the guard behind Flower's node authentication, and bounds for a message.

Private: written for the releases that ``common.flower_release`` names.
"""

from collections.abc import Callable
from typing import Any

import grpc  # type: ignore[import-untyped]
from flwr.common.constant import PUBLIC_KEY_HEADER, TIMESTAMP_HEADER
from flwr.supercore.error import FlowerError

from common.flower_release import SUPERLINK
from fl_server.host.passage import NOT_LAPSED, Passage
from fl_server.host.refusals import Refusals

_FLEET = "/flwr.proto.Fleet/"


class _Told:
    """A call's context that tells of its refusal."""

    def __init__(self, context: Any, call: str, refusals: Refusals) -> None:
        self._context, self._call, self._refusals = context, call, refusals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def abort(self, code: grpc.StatusCode, why: str) -> None:
        self._refusals.tell(self._call, why, self._context.peer())
        self._context.abort(code, why)


def guard_grpc(passage: Passage, refusals: Refusals, message_bytes: int) -> None:
    """Let no gRPC call of a household by that does not pass."""
    link = SUPERLINK.load()
    vars(link)["GRPC_MAX_MESSAGE_LENGTH"] = message_bytes
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
                why = passage.stranger(call, admitted)
                if why is not None:
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
                why = passage.refuse(call, key, stamp, request)
                if why is not None:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, why)
                try:
                    response = handler.unary_unary(request, context)
                except FlowerError:
                    if call != "ActivateNode":
                        raise
                    # Flower would write the key to its log.
                    context.abort(grpc.StatusCode.FAILED_PRECONDITION, NOT_LAPSED)
                passage.answered(call, key, response)
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
