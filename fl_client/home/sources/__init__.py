"""Where readings come from, one file each. A source runs in a thread of its own."""

from collections.abc import Mapping, Sequence

from fl_client.home.mapping import Channel
from fl_client.home.sources.source import Cursor, Source


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
