"""How commands reach a battery, one file each."""

from collections.abc import Mapping

from fl_client.control.adapters.adapter import Adapter
from fl_client.control.settings import HOMEASSISTANT, MQTT, Control


def open_adapter(control: Control, secrets: Mapping[str, str], household: str) -> Adapter:
    """The adapter that ``control.yaml`` names. ``secrets``: of secret.env. Raises InputError."""
    if control.adapter == MQTT:
        from fl_client.control.adapters.mqtt import MqttAdapter

        return MqttAdapter(control, secrets, household)
    if control.adapter == HOMEASSISTANT:
        from fl_client.control.adapters.homeassistant import HomeAssistantAdapter

        return HomeAssistantAdapter(control, secrets)
    from fl_client.control.adapters.modbus import ModbusAdapter

    return ModbusAdapter(control)
