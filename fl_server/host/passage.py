"""What a household's call must pass, whichever way it came: the one rule of gRPC and HTTP.

Both ways have authenticated the caller first: the key is the one that signed the call.
"""

from collections.abc import Callable
from typing import Any

from fl_server.host.guard import Guard

NOT_ADMITTED = "this key is not admitted"
NOT_LAPSED = "this household's last connection has not lapsed yet"
_REGISTER = "RegisterNode"


class Passage:
    """Who may call, and what. ``closed``: only keys that were admitted.

    Calls have the names that Flower's protocol gives them.
    """

    def __init__(self, guard: Guard, *, closed: bool) -> None:
        self._guard, self._closed = guard, closed

    def stranger(self, call: str, admitted: Callable[[], bool]) -> str | None:
        """Why the caller has no business here; None where it has. Needs no content."""
        if call == _REGISTER:
            return NOT_ADMITTED if self._closed else None
        return None if admitted() else NOT_ADMITTED

    def refuse(self, call: str, key: bytes, stamp: str, request: Any) -> str | None:
        """Why this call of an admitted key must not pass; None if it may."""
        return None if call == _REGISTER else self._guard.refuse(key, stamp, request)

    def answered(self, call: str, key: bytes, response: Any) -> None:
        """Note what the caller is about to be told."""
        if call != _REGISTER:
            self._guard.hand_out(key, response)
