"""Where readings come from, one file each. A source runs in a thread of its own."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from common.errors import InputError
from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel

Cursor = Callable[[str], str | None]
"""How far a channel's source had been read, by the channel's name."""


class Source(Protocol):
    """A connection that some channels are read from."""

    name: str

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """Put what comes into ``inbox`` until ``stop`` is set.

        Raises OSError or InputError where that does not work now; it is tried again.
        """


def open_sources(
    channels: Sequence[Channel], secrets: Mapping[str, str], cursor: Cursor, household: str
) -> list[Source]:
    """The sources that ``channels`` need. ``secrets``: names and values of secret.env.

    Raises InputError where a source has no address.
    """
    groups: dict[tuple[str, str], list[Channel]] = {}
    for one in channels:
        groups.setdefault((one.via, one.server), []).append(one)
    return [
        _MAKE[via](server, group, secrets, cursor, household)
        for (via, server), group in groups.items()
    ]


def _mqtt(
    server: str, group: list[Channel], secrets: Mapping[str, str], cursor: Cursor, household: str
) -> Source:
    from fl_client.home.sources.mqtt import Mqtt

    return Mqtt(server, group, secrets, household)


def _homeassistant(
    server: str, group: list[Channel], secrets: Mapping[str, str], cursor: Cursor, household: str
) -> Source:
    from fl_client.home.sources.homeassistant import HomeAssistant

    return HomeAssistant(server, group, secrets, cursor)


def _sql(
    server: str, group: list[Channel], secrets: Mapping[str, str], cursor: Cursor, household: str
) -> Source:
    from fl_client.home.sources.sql import Sql

    return Sql(server, group, secrets, cursor)


def _file(
    server: str, group: list[Channel], secrets: Mapping[str, str], cursor: Cursor, household: str
) -> Source:
    from fl_client.home.sources.files import Files

    return Files(group, cursor)


def _http(
    server: str, group: list[Channel], secrets: Mapping[str, str], cursor: Cursor, household: str
) -> Source:
    from fl_client.home.sources.http import Http

    return Http(group, secrets, cursor)


_MAKE = {
    "mqtt": _mqtt, "homeassistant": _homeassistant, "sql": _sql, "file": _file, "http": _http,
}  # fmt: skip


def secret(secrets: Mapping[str, str], name: str, what: str) -> str:
    """A value of secret.env. Raises InputError that says where to put it."""
    if not secrets.get(name):
        raise InputError(f"{what}: put a line {name}=... into secret.env of the household's folder")
    return secrets[name]
