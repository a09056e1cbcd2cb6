"""Commands by MQTT: to the inverter's own topics, or those of the bridge in front of it.

Nothing is retained, and nothing waits for a line that is down: an inverter that comes back must not
obey an old setpoint. If this process is killed the broker says ``hand_back`` in its place (the last
will), whatever watchdog the inverter has.
"""

import json
from collections.abc import Mapping
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS

from fl_client.control.adapters.by_orders import ByOrders
from fl_client.control.settings import Control, Order
from fl_client.home.sources.mqtt import connection

_KEEPALIVE_S = 15
_SENT_S = 2.0


class MqttAdapter(ByOrders):
    """``Adapter`` to the topics of ``control``; connects by itself, and again."""

    def __init__(self, control: Control, secrets: Mapping[str, str], household: str) -> None:
        super().__init__(control)
        client, self._host, self._port = connection(
            control.server, secrets, f"fedwatt-{household}-control", clean=True
        )
        self.name = f"mqtt {self._host}:{self._port}"
        self._client, self._trouble = client, "not connected yet"
        if control.hand_back:
            last = control.hand_back[-1]
            client.will_set(last.address, _payload(last, last.value), 1, retain=False)
        client.on_connect = self._connected
        client.on_connect_fail = self._failed
        client.on_disconnect = self._gone
        client.connect_async(self._host, self._port, _KEEPALIVE_S)
        client.loop_start()

    @property
    def trouble(self) -> str:
        """See ``Adapter``."""
        return "" if self._client.is_connected() and not self._trouble else self._trouble

    def close(self) -> None:
        """See ``Adapter``."""
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self, order: Order, value: str | float) -> None:
        if self.trouble:
            raise OSError(f"{self.name}: {self.trouble}")
        # QoS 0: what the line does not take now is gone; what matters is what the battery does.
        said = self._client.publish(order.address, _payload(order, value), 0, retain=False)
        if said.rc != MQTT_ERR_SUCCESS:
            raise OSError(f"{self.name}: {said.rc}")
        said.wait_for_publish(_SENT_S)
        if not said.is_published():
            raise OSError(f"{self.name}: the line takes nothing")

    def _connected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        failed = reason.is_failure
        words = f"refused: {reason} (user and password stand in secret.env)"
        self._trouble = words if failed else ""

    def _failed(self, _client: Any, _data: Any) -> None:
        self._trouble = "nobody answers there"

    def _gone(self, _client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        self._trouble = f"lost: {reason}"


def _payload(order: Order, value: str | float) -> str:
    """Plain, or in its place in a JSON message."""
    if isinstance(value, float):
        value = float(f"{value:.3f}")
    if order.field:
        return json.dumps({order.field: value})
    return f"{value:g}" if isinstance(value, float) else value
