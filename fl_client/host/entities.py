"""A household as entities of its own Home Assistant, by MQTT discovery.

One state message holds all figures; Home Assistant is told once which entity is which of them. It
learns what the page of the house shows, and the broker is the household's own.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from paho.mqtt.client import MQTTMessage

from fl_client.home.sources.mqtt import connection
from fl_client.host.house_figures import Figures

OVERRIDE = "override"
_KEEPALIVE_S = 30
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_STATE = 255  # of an entity in Home Assistant
_log = logging.getLogger(__name__)


class Entity(NamedTuple):
    """``figure``: its name in the state. ``kind``: device class. ``unit``: ¤ is the currency.

    ``counts``: state class. ``since``: the figure that says when it began to count. ``digits``:
    those shown.
    """

    figure: str
    name: str
    kind: str = ""
    unit: str = ""
    counts: str = ""
    since: str = ""
    icon: str = ""
    digits: int | None = None


_TOTAL = ("energy", "kWh", "total_increasing")
_PRICE = ("", "¤/kWh", "measurement", "", "mdi:cash", 3)
_MONEY = ("monetary", "¤", "total")
_NOW = ("", "kWh", "measurement", "")
_POWER = ("power", "kW", "measurement", "", "", 2)
ENTITIES = (
    Entity("from_neighbours_kwh", "Energy from neighbours", *_TOTAL, digits=2),
    Entity("to_neighbours_kwh", "Energy to neighbours", *_TOTAL, digits=2),
    Entity("grid_price", "Price from the grid", *_PRICE),
    Entity("feed_in_price", "Price to the grid", *_PRICE),
    Entity("local_price", "Price among neighbours", *_PRICE),
    Entity("bill_today", "Bill today", *_MONEY, "today", digits=2),
    Entity("bill_month", "Bill this month", *_MONEY, "month", digits=2),
    Entity("bill_month_expected", "Bill expected for the month", "monetary", "¤", digits=2),
    Entity("saved_month", "Saved by trading this month", *_MONEY, "month", digits=2),
    Entity("model_month", "Earned by the shared model this month", *_MONEY, "month", digits=2),
    Entity("expected_kwh", "Use expected now", *_NOW, "mdi:crystal-ball", 2),
    Entity("bought_now_kwh", "Bought for now", *_NOW, "mdi:home-import-outline", 2),
    Entity("sold_now_kwh", "Sold for now", *_NOW, "mdi:home-export-outline", 2),
    Entity("plan", "Plan", icon="mdi:lightbulb-on-outline"),
    Entity("model_rounds", "Model rounds", "", "", "measurement", icon="mdi:brain"),
)
BATTERY = (
    Entity("battery_state", "Battery driven by", icon="mdi:home-battery"),
    Entity("battery_why", "Battery, why", icon="mdi:lightbulb-on-outline"),
    Entity("battery_kw", "Battery, charging", *_POWER),
    Entity("battery_setpoint_kw", "Battery, told to charge", *_POWER),
)


class Entities:
    """Publishes the figures of household ``name`` to its broker.

    ``prefix``: of discovery, homeassistant by default there. ``override``: called with whether it
    is wanted, in the thread of the connection; None where there is no battery to override.
    """

    def __init__(
        self,
        name: str,
        secrets: Mapping[str, str],
        prefix: str,
        currency: str,
        override: Callable[[bool], None] | None = None,
    ) -> None:
        self._name, self._prefix, self._currency = name, prefix, currency
        self._node = f"fedwatt_{_UNSAFE.sub('_', name)}"
        self._base = f"fedwatt/{name}"
        self._override = override
        self._said = ""
        client, self._host, self._port = connection("", secrets, f"{self._node}-page", clean=True)
        self._client = client
        client.will_set(f"{self._base}/status", "offline", 1, retain=True)
        client.on_connect = self._connected
        client.on_message = self._heard

    def start(self) -> None:
        """Connect in a thread, and again whenever the connection is lost."""
        self._client.connect_async(self._host, self._port, _KEEPALIVE_S)
        self._client.loop_start()

    def close(self) -> None:
        """Say that nothing will come any more."""
        if self._client.is_connected():
            self._client.publish(f"{self._base}/status", "offline", 1, True).wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def tell(self, found: Figures) -> None:
        """Publish the figures where they are others than before."""
        text = json.dumps({key: _short(value) for key, value in found.items()})
        if text != self._said and self._client.is_connected():
            self._client.publish(f"{self._base}/state", text, 1, retain=True)
            self._said = text

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            _log.warning("broker: %s (user and password stand in secret.env)", reason)
            return
        for topic, config in self.discovery():
            self._client.publish(topic, json.dumps(config), 1, retain=True)
        if self._override is not None:
            self._client.subscribe(f"{self._base}/{OVERRIDE}/set", 1)
        self._client.publish(f"{self._base}/status", "online", 1, retain=True)
        self._said = ""

    def _heard(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        # A retained command is as old as nobody knows.
        if self._override is None or message.retain:
            return
        said = bytes(message.payload).decode("utf-8", "replace")
        if said not in ("ON", "OFF"):
            _log.warning("%s: %r is neither ON nor OFF", message.topic, said[:40])
            return
        self._override(said == "ON")

    def discovery(self) -> Iterator[tuple[str, dict[str, object]]]:
        """(Topic, configuration) of every entity."""
        for one in ENTITIES if self._override is None else (*ENTITIES, *BATTERY):
            value = f"value_json.{one.figure}"
            config = self._common(one.figure, one.name) | {
                "value_template": f"{{{{ {value} }}}}",
                "device_class": one.kind,
                "unit_of_measurement": one.unit.replace("¤", self._currency),
                "state_class": one.counts,
                "icon": one.icon,
                "suggested_display_precision": one.digits,
            }
            if one.since:
                config["last_reset_value_template"] = f"{{{{ value_json.{one.since} }}}}"
            yield (
                f"{self._prefix}/sensor/{self._node}/{one.figure}/config",
                {key: value for key, value in config.items() if value not in ("", None)},
            )
        if self._override is not None:
            yield (
                f"{self._prefix}/switch/{self._node}/{OVERRIDE}/config",
                self._common(OVERRIDE, "Leave the battery alone")
                | {
                    "value_template": f"{{{{ value_json.{OVERRIDE} }}}}",
                    "command_topic": f"{self._base}/{OVERRIDE}/set",
                    "qos": 1,
                    "icon": "mdi:hand-back-right",
                },
            )

    def _common(self, key: str, name: str) -> dict[str, object]:
        return {
            "name": name,
            "unique_id": f"{self._node}_{key}",
            "object_id": f"{self._node}_{key}",
            "state_topic": f"{self._base}/state",
            "availability": [{"topic": f"{self._base}/status"}],
            "device": {
                "identifiers": [self._node],
                "name": self._name,
                "manufacturer": "fedwatt",
                "model": "household",
            },
        }


def _short(value: float | str | None) -> float | str | None:
    if isinstance(value, float):
        return round(value, 6)
    return value[:_LONGEST_STATE] if isinstance(value, str) else value
