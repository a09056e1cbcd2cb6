"""Commands by Home Assistant's services, over its WebSocket.

"The service ran" is all that an answer says: also for an entity that does not exist. The service
follows from the entity's kind. Nothing hands back in place of a process that was killed: an
automation in Home Assistant, or the inverter's watchdog, must.
"""

from collections.abc import Mapping
from typing import Any

from common.errors import InputError
from fl_client.control.adapters.by_orders import ByOrders
from fl_client.control.settings import Control, Order
from fl_client.home import address as addresses
from fl_client.home.sources.homeassistant import Refused, Session
from fl_client.home.sources.source import HOMEASSISTANT, TOKEN, secret

_SERVICES = {
    "number": ("set_value", "value"),
    "input_number": ("set_value", "value"),
    "select": ("select_option", "option"),
    "input_select": ("select_option", "option"),
    "switch": ("", ""),
    "input_boolean": ("", ""),
    "button": ("press", ""),
    "script": ("turn_on", ""),
}
_SWITCH = {"on": "turn_on", "off": "turn_off"}


def service(order: Order, value: str | float) -> dict[str, Any]:
    """The call that writes a value to an entity. Raises InputError."""
    kind = order.address.partition(".")[0]
    if kind not in _SERVICES:
        raise InputError(
            f"entity {order.address}: its kind cannot be written; known are {', '.join(_SERVICES)}"
        )
    name, field = _SERVICES[kind]
    if not name:
        if str(value).lower() not in _SWITCH:
            raise InputError(f"entity {order.address}: value {value!r}: on or off, in quotes")
        name = _SWITCH[str(value).lower()]
    call: dict[str, Any] = {
        "type": "call_service", "domain": kind, "service": name,
        "target": {"entity_id": order.address},
    }  # fmt: skip
    if field:
        call["service_data"] = {field: value}
    return call


class HomeAssistantAdapter(ByOrders):
    """``Adapter`` to entities of ``control``; connects when it is asked, and again."""

    def __init__(self, control: Control, secrets: Mapping[str, str]) -> None:
        super().__init__(control)
        self._url = control.server or secret(secrets, HOMEASSISTANT, "adapter homeassistant")
        self._token = secret(secrets, TOKEN, "adapter homeassistant")
        parts = addresses.server(self._url, ("http", "https"), "adapter homeassistant: address")
        self.name = f"homeassistant {parts.netloc}"
        self._session: Session | None = None
        self._refused = ""
        for order in (*control.take, *control.hand_back):
            service(order, order.value)
        for power in (control.setpoint, control.follow):
            if power is not None:
                service(power, 0.0)

    @property
    def trouble(self) -> str:
        """See ``Adapter``: the line is tried anew by every command, but never a refused token."""
        return self._refused

    def close(self) -> None:
        """See ``Adapter``."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _send(self, order: Order, value: str | float) -> None:
        if isinstance(value, float):
            value = float(f"{value:.3f}")
        if self._refused:
            raise OSError(self._refused)
        try:
            if self._session is None:
                self._session = Session(self._url, self._token)
            self._session.ask(**service(order, value))
        except Refused as error:
            self._refused = str(error)
            raise OSError(str(error)) from None
        except (OSError, TimeoutError) as error:
            self.close()
            raise OSError(f"{self.name}: {error}") from None
