"""A household as entities of Home Assistant: on a real broker, and in the real Home Assistant."""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fl_client.control.record import COMMAND as COMMANDED
from fl_client.control.record import STEERING, Record, Snapshot
from fl_client.host import window as window_module
from fl_client.host.client_file import ClientFile
from fl_client.host.window import tell
from fl_client.state import QUANTITIES, State
from tests.support.homeassistant import FAKETIME, HASS, HomeAssistant

RUN = {"run": "run-1", "household": "maple", "start": "2026-11-26T10:00:00+00:00"}
WATTS = 2_000_000  # mWh: 2 kWh


def lived(home: Path, intervals: int) -> None:
    """A household that bought 2 kWh at 0.20 in each half hour, the last of them running."""
    state = State(home / "state", durable=True)
    state.begin(RUN, 0)
    known = {"load": 2.0, "retail": 0.3, "feed_in": 0.05, "cost": 0.4, "local_buy": 0.2}
    for t in range(intervals):
        values = [known.get(name, 0.0) for name in QUANTITIES]
        state.put([(t, f"2026-11-26T{10 + t // 2}:{30 * (t % 2):02d}:00+00:00",
                    int(t < intervals - 1), *values)])  # fmt: skip
        state.announce(t, (WATTS, 0, 400_000, 0))
    state.close()


@pytest.fixture
def home(tmp_path: Path, broker: Any) -> Path:
    """A household with a controlled battery, told to publish to the broker."""
    file = ClientFile("maple", "synthetic", "127.0.0.1:9092", discovery="homeassistant")
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "client.yaml").write_text(yaml.safe_dump(asdict(file)))
    (folder / "secret.env").write_text(f"FEDWATT_MQTT=mqtt://127.0.0.1:{broker.port}\n")
    (folder / "secret.env").chmod(0o600)
    lived(folder, 3)
    record = Record(folder)
    record.put(Snapshot(time.time(), COMMANDED, STEERING, "The sun is kept.", 0.7, battery_kw=0.6))
    record.close()
    return folder


@pytest.fixture
def window(home: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The household's window, as its keeper starts it."""
    command = [sys.executable, "-m", "fl_client.host.window", str(home)]
    process = subprocess.Popen(command, env=dict(os.environ))
    yield process
    process.terminate()
    process.wait(20)


class Listener:
    """Everything that is said on a broker, newest by topic."""

    def __init__(self, port: int) -> None:
        self.said: dict[str, str] = {}
        self.client = Client(CallbackAPIVersion.VERSION2, "listener")
        self.client.on_connect = lambda c, *_: c.subscribe("#", 1)
        self.client.on_message = lambda _c, _d, m: self.said.update({m.topic: m.payload.decode()})
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def wait(self, true: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.said
            time.sleep(0.1)

    def state(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.said.get("fedwatt/maple/state", "{}"))
        return loaded


@pytest.fixture
def listener(broker: Any) -> Iterator[Listener]:
    made = Listener(broker.port)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


def test_figures_switch_and_death_on_a_broker(
    home: Path, window: "subprocess.Popen[bytes]", listener: Listener, broker: Any
) -> None:
    """Energy from neighbours counts up with what is traded; ON leaves the battery alone until OFF;
    another word, or a command that the broker kept, does nothing; after a kill everything is
    unavailable, and a broker that was away is told anew."""
    listener.wait(lambda: listener.state().get("from_neighbours_kwh") == 6.0)
    found = listener.state()
    assert found["bill_month"] == pytest.approx(0.8)
    assert (found["override"], found["battery_state"]) == ("OFF", STEERING)
    energy = json.loads(
        listener.said["homeassistant/sensor/fedwatt_maple/from_neighbours_kwh/config"]
    )
    assert (energy["state_class"], energy["unit_of_measurement"]) == ("total_increasing", "kWh")
    lived(home, 4)
    listener.wait(lambda: listener.state()["from_neighbours_kwh"] == 8.0)

    record = Record(home)
    press = "fedwatt/maple/override/set"
    listener.client.publish(press, "maybe", 1)
    listener.client.publish(press, "ON", 1)
    listener.wait(lambda: listener.state()["override"] == "ON")
    held = record.override(time.time())
    assert held is not None
    assert (held.who, held.until) == ("Home Assistant", None)
    listener.client.publish(press, "OFF", 1)
    listener.wait(lambda: listener.state()["override"] == "OFF")
    assert record.override(time.time()) is None

    listener.client.publish(press, "ON", 1, retain=True).wait_for_publish(5)
    listener.wait(lambda: listener.state()["override"] == "ON")  # it was there: it is a command
    record.clear_override()
    broker.stop()
    broker.start()
    listener.said.clear()
    listener.wait(lambda: listener.said.get("fedwatt/maple/status") == "online")
    listener.wait(lambda: listener.state().get("override") == "OFF")
    time.sleep(2)
    assert record.override(time.time()) is None
    record.close()
    window.kill()
    listener.wait(lambda: listener.said["fedwatt/maple/status"] == "offline")


def test_a_press_that_fails_is_said_and_the_next_one_works(
    home: Path,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that is locked, a disk that is full: the log says what was not done, figures go on,
    and later presses are obeyed."""
    troubles: list[Exception] = [
        sqlite3.OperationalError("database is locked"), OSError(28, "No space left on device"),
    ]  # fmt: skip
    done, stop, press = window_module.override, threading.Event(), "fedwatt/maple/override/set"

    def troubled(*given: Any) -> None:
        if troubles:
            raise troubles.pop(0)
        done(*given)

    monkeypatch.setattr(window_module, "override", troubled)
    caplog.set_level(logging.WARNING)
    teller = threading.Thread(target=tell, args=(home, stop), daemon=True)
    teller.start()
    try:
        listener.wait(lambda: listener.state().get("override") == "OFF")
        for words in ("database is locked", "No space left on device"):
            listener.client.publish(press, "ON", 1)
            listener.wait(lambda words=words: words in caplog.text)
        for said in ("ON", "OFF", "ON"):
            listener.client.publish(press, said, 1)
            listener.wait(lambda said=said: listener.state()["override"] == said)
        assert listener.said["fedwatt/maple/status"] == "online"
    finally:
        stop.set()
        teller.join(20)
    assert not teller.is_alive()


def test_who_cannot_tell_is_tried_again_or_ends_the_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the world does is tried again while the page stands; any other end ends the process
    with status 1, so that its keeper starts it anew."""
    tried = []

    def failing(*_: object) -> None:
        tried.append(1)
        raise OSError("no certificate") if len(tried) < 3 else RuntimeError("a fault of ours")

    monkeypatch.setattr(window_module, "tell", failing)
    monkeypatch.setattr(window_module, "_AGAIN_S", 0.01)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["window", str(home)])
    assert window_module.main() == 1
    assert len(tried) == 3


@pytest.mark.skipif(not HASS, reason="FEDWATT_HASS names no Home Assistant (make test-live)")
def test_in_the_real_home_assistant(
    home: Path, window: "subprocess.Popen[bytes]", listener: Listener, broker: Any, tmp_path: Path
) -> None:
    """It finds every entity with its value, keeps statistics of the energies, takes them for its
    energy dashboard, and its switch is the override."""
    listener.wait(lambda: listener.state().get("from_neighbours_kwh") == 6.0)
    # Its first statistics take five minutes.
    fast = (time.time(), 60) if FAKETIME.exists() else None
    assistant = HomeAssistant(tmp_path / "assistant", broker, fast)
    try:
        session = assistant.session()

        def states() -> dict[str, Any]:
            return {one["entity_id"]: one for one in session.ask(type="get_states")}

        name = "sensor.fedwatt_maple_{}".format
        listener.wait(lambda: states().get(name("from_neighbours_kwh"), {}).get("state") == "6.0")
        found = states()
        for figure, value, unit in (
            ("to_neighbours_kwh", "0.0", "kWh"),
            ("grid_price", "0.3", "EUR/kWh"),
            ("local_price", "0.2", "EUR/kWh"),
            ("bill_month", "0.8", "EUR"),
            ("battery_setpoint_kw", "0.7", "kW"),
        ):
            entity = found[name(figure)]
            assert (entity["state"], entity["attributes"]["unit_of_measurement"]) == (value, unit)
        assert found[name("battery_why")]["state"] == "The sun is kept."
        assert found[name("plan")]["state"].startswith("Has nothing to trade")
        # A home that holds no model expects nothing, and no model has earned it anything.
        without = {name(figure) for figure, value in listener.state().items() if value is None}
        assert {name("bill_month_expected"), name("model_month")} <= without
        unknown = {key for key, one in found.items() if "maple" in key
                   and one["state"] in ("unavailable", "unknown")}  # fmt: skip
        assert unknown <= without

        switch = "switch.fedwatt_maple_override"
        record = Record(home)
        for service, state in (("turn_on", "on"), ("turn_off", "off")):
            session.ask(type="call_service", domain="switch", service=service,
                        target={"entity_id": switch})  # fmt: skip
            listener.wait(lambda state=state: states()[switch]["state"] == state)
            assert (record.override(time.time()) is not None) == (state == "on")
        record.close()

        energy = {"stat_energy_from": name("from_neighbours_kwh"), "stat_cost": None,
                  "entity_energy_price": None, "number_energy_price": None}  # fmt: skip
        sold = {"stat_energy_to": name("to_neighbours_kwh"), "stat_compensation": None,
                "entity_energy_price": None, "number_energy_price": None}  # fmt: skip
        grid = {"type": "grid", "flow_from": [energy], "flow_to": [sold], "cost_adjustment_day": 0}
        session.ask(type="energy/save_prefs", energy_sources=[grid])
        listener.wait(lambda: session.ask(type="energy/validate")["energy_sources"] == [[]], 400)
        kept = {one["statistic_id"] for one in session.ask(type="recorder/list_statistic_ids")}
        assert {name("from_neighbours_kwh"), name("bill_month"), name("grid_price")} <= kept
        session.close()
    finally:
        assistant.stop()
