"""A battery read and commanded through a real Home Assistant, nothing else, in real time."""

import os
import time

import pytest
import yaml

from fl_client.control.record import HAND_BACK, OVERRIDDEN
from fl_client.home.clock import HouseClock
from fl_client.home.sources.source import HOMEASSISTANT, TOKEN
from tests.support.controlled import Controlled
from tests.support.homeassistant import HASS, HomeAssistant
from tests.support.mqtt_house import MqttHouse, discovery

METERS = [
    *({"role": role, "entity": f"sensor.house_{role}"}
      for role in ("import", "export", "charge", "discharge", "soc")),
    {"role": "power", "entity": "sensor.house_grid"},
]  # fmt: skip
CONTROL = {
    "mode": "command",
    "adapter": "homeassistant",
    "setpoint": {"entity": "number.house_setpoint", "sign": -1},
    "take": {"entity": "select.house_mode", "value": "remote"},
    "hand_back": {"entity": "select.house_mode", "value": "auto"},
    "readback": {
        "power": {"entity": "sensor.house_battery", "sign": -1},
        "switch": {"entity": "sensor.house_remote", "is": "ON"},
    },
    "watchdog_s": 120,
}


@pytest.mark.slow
@pytest.mark.skipif(not HASS, reason="FEDWATT_HASS names no Home Assistant (make test-live)")
def test_all_by_home_assistant(tmp_path, broker):
    """Steered within a minute; the grid stands still; the switch of the house is heard; when Home
    Assistant ends the house is by itself within the inverter's watchdog, and it is said."""
    house = MqttHouse(broker.port, speed=1.0)
    hass = HomeAssistant(tmp_path / "hass", broker)
    home = None
    try:
        for topic, config in discovery():
            house._client.publish(topic, config, 1, retain=True)
        files = {"meters.yaml": METERS, "control.yaml": CONTROL}
        home = Controlled(tmp_path / "home", broker, house, HouseClock(), files)
        secret = home.folder / "secret.env"
        secret.write_text(f"{HOMEASSISTANT}={hass.url}\n{TOKEN}={hass.token}\n")
        os.chmod(secret, 0o600)
        home.start("meters", "control")
        begin = time.monotonic()
        home.until(home.steered, 300)
        print(f"steered after {time.monotonic() - begin:.0f} s")
        time.sleep(60)
        assert home.steered()
        assert abs(house.house.grid_kw) < 0.5
        house.house.switch(False)
        home.until(lambda: home.state(OVERRIDDEN), 120)
        house.house.switch(True)
        home.until(home.steered, 180)
        hass.stop()
        home.until(lambda: house.house.mode == "auto", 150)
        home.until(lambda: not home.steered() and home.record.snapshot().state != "steering", 200)
        assert any(c.command == HAND_BACK for c in home.record.commands(most=99))
        print(yaml.safe_dump([c.reason for c in home.record.commands(most=6)]))
    finally:
        if home is not None:
            home.close()
        hass.stop()
        house.close()
