"""Readings by MQTT, the path for bills: the meter's own stamps, and nothing lost.

The session is persistent and a message is acknowledged when it is on disk: what comes while this
process, or the line, is down is delivered later by the broker.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from fl_client.home import address as addresses
from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel
from fl_client.home.sources.source import MQTT, MQTT_PASSWORD, MQTT_USER
from fl_client.home.values import decode

_DEFAULT = "mqtt://127.0.0.1"
_QOS = 1
_KEEPALIVE_S = 30


def connection(
    server: str, secrets: Mapping[str, str], client_id: str, *, clean: bool
) -> tuple[Client, str, int]:
    """A client that is not connected yet, its broker's host and port. Raises InputError for an
    address that is none."""
    said = server or secrets.get(MQTT) or _DEFAULT
    url = addresses.server(said, ("mqtt", "mqtts"), "server" if server else MQTT)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=clean,
        protocol=MQTTProtocolVersion.MQTTv311,
        manual_ack=not clean,
    )
    user = url.username or secrets.get(MQTT_USER)
    if user:
        client.username_pw_set(user, secrets.get(MQTT_PASSWORD))
    if url.scheme == "mqtts":
        client.tls_set()
    client.reconnect_delay_set(1, 60)
    return (
        client,
        url.hostname or "127.0.0.1",
        url.port or (8883 if url.scheme == "mqtts" else 1883),
    )


class Mqtt:
    """Topics of one broker."""

    def __init__(
        self,
        server: str,
        channels: Sequence[Channel],
        secrets: Mapping[str, str],
        household: str,
    ) -> None:
        self._topics: dict[str, list[Channel]] = {}
        for one in channels:
            self._topics.setdefault(one.address, []).append(one)
        made = connection(server, secrets, f"fedwatt-{household}", clean=False)
        self._client, self._host, self._port = made
        self.name = f"mqtt {self._host}:{self._port}"

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """Listen; the client connects again by itself. See ``Source``."""
        client = self._client
        client.on_connect = partial(self._connected, inbox)
        client.on_subscribe = partial(self._subscribed, inbox)
        client.on_disconnect = partial(self._gone, inbox)
        client.on_message = partial(self._heard, inbox)
        client.connect(self._host, self._port, _KEEPALIVE_S)
        client.loop_start()
        try:
            stop.wait()
        finally:
            client.disconnect()
            client.loop_stop()

    def _connected(
        self, inbox: Inbox, client: Client, _data: Any, _flags: Any, reason: Any, _more: Any
    ) -> None:
        if reason.is_failure:
            inbox.state(self.name, f"refused: {reason} (user and password stand in secret.env)")
            return
        client.subscribe([(topic, _QOS) for topic in self._topics])

    def _subscribed(
        self, inbox: Inbox, _client: Client, _data: Any, _mid: int, reasons: Any, _more: Any
    ) -> None:
        refused = any(reason.is_failure for reason in reasons)
        inbox.state(self.name, "a topic is refused" if refused else "connected")

    def _gone(
        self, inbox: Inbox, _client: Client, _data: Any, _flags: Any, reason: Any, _more: Any
    ) -> None:
        inbox.state(self.name, f"lost: {reason}")

    def _heard(self, inbox: Inbox, client: Client, _data: Any, message: MQTTMessage) -> None:
        listeners = self._topics.get(message.topic, [])
        body = decode(bytes(message.payload))
        done = partial(client.ack, message.mid, message.qos)
        for place, channel in enumerate(listeners):
            last = place == len(listeners) - 1
            inbox.hear(channel, body, retained=message.retain, done=done if last else None)
        if not listeners:
            done()
