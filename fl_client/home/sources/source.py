"""What a source of readings is, whatever it reads from."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from common.errors import InputError
from fl_client.home.inbox import Inbox

Cursor = Callable[[str], str | None]
"""How far a channel's source had been read, by the channel's name."""


class Source(Protocol):
    """A connection that some channels are read from."""

    name: str

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """Put what comes into ``inbox`` until ``stop`` is set.

        Raises OSError or InputError where that does not work now; it is tried again.
        """


def secret(secrets: Mapping[str, str], name: str, what: str) -> str:
    """A value of secret.env. Raises InputError that says where to put it."""
    if not secrets.get(name):
        raise InputError(f"{what}: put a line {name}=... into secret.env of the household's folder")
    return secrets[name]
