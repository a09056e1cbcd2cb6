"""What a source of readings is, whatever it reads from."""

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from common.errors import InputError
from fl_client.home.inbox import Inbox

MQTT, MQTT_USER, MQTT_PASSWORD = "FEDWATT_MQTT", "FEDWATT_MQTT_USER", "FEDWATT_MQTT_PASSWORD"
HOMEASSISTANT, TOKEN = "FEDWATT_HOMEASSISTANT", "FEDWATT_HOMEASSISTANT_TOKEN"
SQL, SQL_PASSWORD = "FEDWATT_SQL", "FEDWATT_SQL_PASSWORD"
AUTHORIZATION = "FEDWATT_HTTP_AUTHORIZATION"
SECRET_NAMES = (
    MQTT, MQTT_USER, MQTT_PASSWORD, HOMEASSISTANT, TOKEN, SQL, SQL_PASSWORD, AUTHORIZATION,
)  # fmt: skip
"""Addresses of servers, users, passwords and tokens, as secret.env names them."""

Cursor = Callable[[str], str | None]
"""How far a channel's source had been read, by the channel's name."""


class Source(Protocol):
    """A connection that some channels are read from."""

    name: str

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """Put what comes into ``inbox`` until ``stop`` is set.

        Raises OSError or InputError where that does not work now; it is tried again.
        """


def secret(
    secrets: Mapping[str, str],
    name: str,
    what: str,
    where: str = "secret.env of the household's folder",
) -> str:
    """A secret by name. Raises InputError that says where to put it."""
    if not secrets.get(name):
        raise InputError(f"{what}: put {name}=... into {where}")
    return secrets[name]
