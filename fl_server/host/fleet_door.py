"""The door for households over HTTP: their own calls pass it, signed, bounded and guarded.

Flower serves households, those who command the run and its own processes with one app, reads and
parses a body before it asks whose it is, and knows no bound. This stands before the app, on the
port that the world reaches: it lets by the listed calls of the Fleet API alone, by their exact
paths, and takes no body of anybody who has not signed with an admitted key.
"""

import asyncio
import binascii
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from common.flower_release import FLEET_HEADERS
from fl_server.host.passage import Passage
from fl_server.host.refusals import Refusals

FLEET = "/v1/fleet/"
_SILENCE_S = 60.0

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class _Gone(Exception):
    """The caller has hung up."""


@dataclass(frozen=True)
class FleetDoor:
    """An ASGI app before Flower's ``app``.

    ``calls``: request type of each path that passes. ``node_of``: node id of an admitted public
    key, None for any other; may block. ``message_bytes``: longest body.
    """

    app: App
    calls: Mapping[str, type]
    node_of: Callable[[bytes], int | None]
    passage: Passage
    refusals: Refusals
    message_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            return
        try:
            await self._let_by(scope, receive, send)
        except _Gone:
            pass
        except _Refused as refused:
            host, port = scope.get("client") or ("", 0)
            self.refusals.tell(_name(scope["path"]), refused.why, f"{host}:{port}")
            await _say(send, refused)

    async def _let_by(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        kind = self.calls.get(path) if scope["method"] == "POST" else None
        if kind is None:
            raise _Refused(404, "no call of a household")
        call, headers = _name(path), _once(scope["headers"])
        length = headers.get("content-length", "0")
        # Python reads no number of thousands of digits.
        if not length.isdecimal() or len(length) > 18 or int(length) > self.message_bytes:
            raise _Refused(413, f"a message of more than {self.message_bytes} bytes")
        key, stamp, node = await asyncio.to_thread(self._caller, call, headers)
        body = await self._body(receive)
        try:
            request: Any = kind.FromString(body)  # type: ignore[attr-defined]
        except DecodeError:
            raise _Refused(400, "an unreadable call") from None
        if not hasattr(request, "public_key") and _claimed(request) != node:
            raise _Refused(401, "Invalid node ID")
        why = self.passage.refuse(call, key, stamp, request)
        if why is not None:
            raise _Refused(403, why)

        unread = True

        async def again() -> Event:
            nonlocal unread
            if not unread:
                return await receive()
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}

        # Flower sees the path that was looked at here, and nothing else to find another by.
        inner = {**scope, "query_string": b"", "root_path": "", "raw_path": path.encode()}
        held: list[Event] = []

        async def answer(event: Event) -> None:
            if call != "PullMessages":
                await send(event)
                return
            held.append(event)
            if event["type"] != "http.response.body" or event.get("more_body"):
                return
            if held[0]["status"] == 200:
                said = b"".join(part.get("body", b"") for part in held[1:])
                self.passage.answered(call, key, PullMessagesResponse.FromString(said))
            for part in held:
                await send(part)

        await self.app(inner, again, answer)

    def _caller(self, call: str, headers: Mapping[str, str]) -> tuple[bytes, str, int | None]:
        """Public key, time stamp and node id of the one who has signed."""
        names = vars(FLEET_HEADERS.load())
        try:
            key = b64decode(headers[names["FLEET_HTTP_PUBLIC_KEY_HEADER"]], validate=True)
            signature = b64decode(headers[names["FLEET_HTTP_SIGNATURE_HEADER"]], validate=True)
            stamp = headers[TIMESTAMP_HEADER]
        except (KeyError, binascii.Error):
            raise _Refused(401, "Missing authentication metadata") from None
        try:
            signed = verify_signature(bytes_to_public_key(key), stamp.encode("ascii"), signature)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            signed = False
        if not signed:
            raise _Refused(401, "Invalid signature")
        try:
            age_s = (now() - datetime.fromisoformat(stamp)).total_seconds()
        except (ValueError, TypeError):
            raise _Refused(401, "Invalid timestamp") from None
        if not -SYSTEM_TIME_TOLERANCE < age_s < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
            raise _Refused(401, "Invalid timestamp")
        node = self.node_of(key)
        why = self.passage.stranger(call, lambda: node is not None)
        if why is not None:
            raise _Refused(412, why)
        return key, stamp, node

    async def _body(self, receive: Receive) -> bytes:
        parts, size = [], 0
        while True:
            try:
                event = await asyncio.wait_for(receive(), _SILENCE_S)
            except TimeoutError:
                raise _Refused(408, "silence in the middle of a call") from None
            if event["type"] != "http.request":
                raise _Gone
            parts.append(event.get("body", b""))
            size += len(parts[-1])
            if size > self.message_bytes:
                raise _Refused(413, f"a message of more than {self.message_bytes} bytes")
            if not event.get("more_body"):
                return b"".join(parts)


def _name(path: str) -> str:
    """The call's name in Flower's protocol: /v1/fleet/pull-messages is PullMessages."""
    return path.removeprefix(FLEET)[:40].title().replace("-", "")


def _claimed(request: Any) -> int:
    node = request.node.node_id if hasattr(request, "node") else request.node_id
    return int(node)


def _once(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers; where one comes twice, Flower might believe the other."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        known = name.decode("latin-1").lower()
        if known in headers and known.startswith(("flwr-", "content-")):
            raise _Refused(400, f"{known[:40]} twice")
        headers[known] = value.decode("latin-1")
    return headers


async def _say(send: Send, refused: _Refused) -> None:
    # What a SuperNode reads an error from; it writes the detail to the household's log.
    body = json.dumps({"code": 0, "detail": refused.why}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
