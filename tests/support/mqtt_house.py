"""A battery home on MQTT, in a thread of its own, on a clock that runs faster."""

import json
import threading
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fl_client.home.clock import HouseClock
from tests.support.battery_home import BatteryHome, flows

SPEED = 20.0


def meters(port):
    """meters.yaml of the house."""
    source = {"source": f"mqtt://127.0.0.1:{port}"}
    register = [
        {"role": role, "topic": f"house/{topic}", "json": f"{role}_kwh", "time": "time"} | source
        for role, topic in (
            ("import", "meter"), ("export", "meter"), ("charge", "battery"),
            ("discharge", "battery"),
        )
    ]  # fmt: skip
    return [
        *register,
        {"role": "soc", "topic": "house/battery", "json": "soc", "time": "time"} | source,
        {"role": "power", "topic": "house/meter", "json": "power_w", "time": "time"} | source,
    ]


def control(port, **more):
    """control.yaml of the house."""
    source = {"source": f"mqtt://127.0.0.1:{port}"}
    battery = {"topic": "house/battery", "time": "time"} | source
    return {
        "mode": "command",
        "adapter": "mqtt",
        "server": f"mqtt://127.0.0.1:{port}",
        "setpoint": {"topic": "house/setpoint/set", "unit": "W", "sign": -1},
        "take": {"topic": "house/mode/set", "value": "remote"},
        "hand_back": {"topic": "house/mode/set", "value": "auto"},
        "readback": {
            "power": battery | {"json": "power_w", "sign": -1},
            "switch": battery | {"json": "remote", "is": "ON"},
        },
        "watchdog_s": 120,
    } | more


class MqttHouse:
    """``clock``: its time. ``heard``: (topic, text, retained) of every command."""

    def __init__(self, port, seed=1, skip_s=8 * 3600, speed=SPEED, **options):
        load, pv = flows(seed, 2)
        self.house = BatteryHome(load, pv, **options)
        for _ in range(skip_s):
            self.house.tick()
        self._port, self.heard, self._stop = port, [], threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "house")
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.on_connect = lambda client, *_: client.subscribe("house/+/set", 1)
        self._client.on_message = self._command
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.clock = HouseClock(self.house.now, time.time(), speed)
        self._lock = threading.Lock()
        self._charged = [0.0, 0.0, 0.0, 0.0]
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _command(self, _client, _data, message):
        text = message.payload.decode()
        self.heard.append((message.topic, text, message.retain))
        with self._lock:
            if message.topic == "house/setpoint/set":
                self.house.command("setpoint", -float(text) / 1000)
            else:
                self.house.command("take" if text == "remote" else "hand back")

    def _live(self):
        while not self._stop.wait(0.02):
            while self.house.now < self.clock.now():
                with self._lock:
                    self.house.tick()
                    self._count(self.house.battery_kw, self.house.grid_kw)
                if self.house.now % 10 == 0:
                    self._say()

    def _count(self, battery, grid):
        for place, kw in enumerate((grid, -grid, battery, -battery)):
            self._charged[place] += max(kw, 0.0) / 3600

    def _say(self):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.house.now))
        imported, exported, charged, discharged = (int(kwh * 1000) / 1000 for kwh in self._charged)
        meter = {"time": at, "import_kwh": imported, "export_kwh": exported,
                 "power_w": round(self.house.grid_kw * 1000)}  # fmt: skip
        battery = {
            "time": at, "charge_kwh": charged, "discharge_kwh": discharged,
            "soc": round(100 * self.house.soc), "power_w": round(-1000 * self.house.battery_kw),
            "remote": "ON" if self.house.permitted else "OFF",
            "mode": self.house.mode,
        }  # fmt: skip
        for topic, body in (("house/meter", meter), ("house/battery", battery)):
            self._client.publish(topic, json.dumps(body), 1, retain=True)


def discovery():
    """(Topic, configuration) of the house's entities in Home Assistant."""
    device = {"identifiers": ["house"], "name": "house"}
    for kind, name, topic, field, more in (
        ("sensor", "import", "meter", "import_kwh", ENERGY),
        ("sensor", "export", "meter", "export_kwh", ENERGY),
        ("sensor", "grid", "meter", "power_w", POWER),
        ("sensor", "charge", "battery", "charge_kwh", ENERGY),
        ("sensor", "discharge", "battery", "discharge_kwh", ENERGY),
        ("sensor", "soc", "battery", "soc", {"unit_of_measurement": "%"}),
        ("sensor", "battery", "battery", "power_w", POWER),
        ("sensor", "remote", "battery", "remote", {}),
        ("number", "setpoint", "battery", "power_w",
         {"command_topic": "house/setpoint/set", "min": -5000, "max": 5000, "step": 1}),
        ("select", "mode", "battery", "mode",
         {"command_topic": "house/mode/set", "options": ["auto", "remote"]}),
    ):  # fmt: skip
        config = {
            "name": name, "unique_id": f"house_{name}", "object_id": f"house_{name}",
            "state_topic": f"house/{topic}", "device": device,
            "value_template": f"{{{{ value_json.{field} }}}}",
        } | more  # fmt: skip
        yield f"homeassistant/{kind}/house/{name}/config", json.dumps(config)


ENERGY = {"device_class": "energy", "unit_of_measurement": "kWh",
          "state_class": "total_increasing"}  # fmt: skip
POWER = {"device_class": "power", "unit_of_measurement": "W", "expire_after": 120}
