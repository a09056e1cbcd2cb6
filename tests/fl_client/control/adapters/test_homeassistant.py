"""Commands by Home Assistant: the calls, and a real one with a battery behind MQTT."""

import json
import queue
import time

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from common.errors import InputError
from fl_client.control.adapters import open_adapter
from fl_client.control.adapters.homeassistant import service
from fl_client.control.settings import Control, Order
from fl_client.home.sources.source import HOMEASSISTANT, TOKEN
from tests.support.homeassistant import HASS, HomeAssistant

DEVICE = {"identifiers": ["inverter"], "name": "inverter"}
NUMBER = {
    "name": "setpoint", "unique_id": "p", "object_id": "inverter_setpoint", "device": DEVICE,
    "command_topic": "inverter/p", "min": -5000, "max": 5000, "step": 1,
}  # fmt: skip
SELECT = {
    "name": "mode", "unique_id": "m", "object_id": "inverter_mode", "device": DEVICE,
    "command_topic": "inverter/mode", "options": ["auto", "remote"],
}  # fmt: skip


def _control(**more):
    return Control(
        mode="command", adapter="homeassistant",
        setpoint=Order("number.inverter_setpoint", factor=-1000.0),
        take=(Order("select.inverter_mode", "remote"),),
        hand_back=(Order("select.inverter_mode", "auto"),), **more,
    )  # fmt: skip


def test_each_kind_of_entity_has_its_service():
    """By the entity's domain; what cannot be written is refused before anything runs."""
    assert service(Order("number.p"), -1200.0)["service_data"] == {"value": -1200.0}
    found = service(Order("select.m"), "auto")
    assert (found["domain"], found["service"], found["target"], found["service_data"]) == (
        "select", "select_option", {"entity_id": "select.m"}, {"option": "auto"},
    )  # fmt: skip
    on = service(Order("switch.remote"), "On")
    assert (on["service"], "service_data" in on) == ("turn_on", False)
    assert service(Order("button.auto"), "x")["service"] == "press"
    for entity, value, words in (
        ("sensor.p", "1", "cannot be written"), ("switch.remote", "auto", "on or off"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            service(Order(entity), value)


def test_without_a_token_nothing_begins():
    """It says where the token belongs; one that nobody is there to check is tried by commands."""
    with pytest.raises(InputError, match=r"secret\.env"):
        open_adapter(_control(), {HOMEASSISTANT: "http://127.0.0.1:1"}, "maple")
    secrets = {HOMEASSISTANT: "http://127.0.0.1:1", TOKEN: "x"}
    adapter = open_adapter(_control(), secrets, "maple")
    with pytest.raises(OSError, match="homeassistant 127"):
        adapter.setpoint(1.0)
    assert adapter.trouble == ""


@pytest.mark.slow
@pytest.mark.skipif(not HASS, reason="FEDWATT_HASS names no Home Assistant (make test-live)")
def test_a_real_one_passes_commands_on(tmp_path, broker):
    """Number and select by MQTT discovery: what the inverter hears, not retained. A refused token
    is said and not tried again. A service that ran proves nothing: an entity that does not exist
    answers as well."""
    heard: queue.Queue = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2, "inverter")
    client.on_message = lambda _c, _d, m: heard.put((m.topic, m.payload.decode(), m.retain))
    client.connect("127.0.0.1", broker.port)
    client.subscribe("inverter/#", 1)
    client.loop_start()
    home = HomeAssistant(tmp_path / "hass", broker)
    try:
        for kind, config in (("number", NUMBER), ("select", SELECT)):
            topic = f"homeassistant/{kind}/inverter/{config['unique_id']}/config"
            client.publish(topic, json.dumps(config), 1, retain=True).wait_for_publish(5)
        secrets = {HOMEASSISTANT: home.url, TOKEN: home.token}
        session, end = home.session(), time.monotonic() + 60
        wanted = {"number.inverter_setpoint", "select.inverter_mode"}
        while wanted - {one["entity_id"] for one in session.ask(type="get_states")}:
            assert time.monotonic() < end
            time.sleep(0.2)
        session.close()
        adapter = open_adapter(_control(), secrets, "maple")
        begin = time.monotonic()
        adapter.take()
        adapter.setpoint(-1.25)
        adapter.hand_back()
        expected = [("inverter/mode", "remote", False), ("inverter/p", "1250", False),
                    ("inverter/mode", "auto", False)]  # fmt: skip
        found = [heard.get(timeout=10) for _ in expected]
        print(f"three commands in {time.monotonic() - begin:.2f} s")
        assert [(topic, text.removesuffix(".0"), kept) for topic, text, kept in found] == expected
        nobody = _control()
        object.__setattr__(nobody, "setpoint", Order("number.nobody", factor=1000.0))
        ghost = open_adapter(nobody, secrets, "maple")
        ghost.setpoint(1.0)
        ghost.close()
        adapter.close()
        adapter.setpoint(0.5)  # connects anew
        assert heard.get(timeout=10)[1].removesuffix(".0") == "-500"
        adapter.close()
        stranger = open_adapter(_control(), secrets | {TOKEN: "wrong"}, "maple")
        for _ in range(2):
            with pytest.raises(OSError, match="does not accept the token"):
                stranger.setpoint(1.0)
        assert "token" in stranger.trouble
    finally:
        home.stop()
        client.disconnect()
        client.loop_stop()
    with pytest.raises(OSError, match="homeassistant"):
        adapter.setpoint(1.0)
