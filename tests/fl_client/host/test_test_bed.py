"""A house of an independent test-bed under all its faults, commanded through a broker, at 60 times
the clock. ``FEDWATT_HOUSE`` names its program; without it these tests are skipped."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import pairwise

import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from common.energy.connection import ConnectionSpec
from fl_client.control.record import HAND_BACK, OWN, SETPOINT, STEERING, Record
from fl_client.control.steering import Steering
from fl_client.state import State
from fl_client.trader.base import BUY, HOLD
from tests.support.battery_home import BLOCK_S, flows
from tests.support.steered import BATTERY

HOUSE = os.environ.get("FEDWATT_HOUSE", "")
SPEED = float(os.environ.get("FEDWATT_HOUSE_SPEED", "60"))
FAULTS = (
    "meter_offline", "derate", "register_reset", "register_jump", "stuck_soc", "register_glitch",
    "skew", "duplicate", "disorder", "late", "meter_silent", "refuse", "restart", "deaf",
)  # fmt: skip
EACH_S = 1800  # a fault for two thirds of it, every half hour
LIMITS = {"charge_kw": 3.0, "discharge_kw": 2.0, "soc_min": 0.2, "soc_max": 0.7}
CLIENT = {"name": "lab", "data": "meters", "server": "127.0.0.1:9092", "insecure": True}


def _mapping(port):
    source = {"source": f"mqtt://127.0.0.1:{port}", "time": "time"}
    meter, battery = ({"topic": f"house/lab/{t}"} | source for t in ("meter", "battery"))
    meters = [
        {"role": "import", "json": "import_kwh"} | meter,
        {"role": "export", "json": "export_kwh"} | meter,
        {"role": "power", "json": "power_w"} | meter,
        {"role": "charge", "json": "charged_kwh"} | battery,
        {"role": "discharge", "json": "discharged_kwh"} | battery,
        {"role": "soc", "json": "soc"} | battery,
    ]  # fmt: skip
    control = {
        "mode": "command",
        "adapter": "mqtt",
        "server": f"mqtt://127.0.0.1:{port}",
        "setpoint": {"topic": "house/lab/battery/setpoint/set", "sign": -1},
        "take": {"topic": "house/lab/battery/mode/set", "value": "remote"},
        "hand_back": {"topic": "house/lab/battery/mode/set", "value": "auto"},
        "readback": {
            "power": {"json": "power_w", "sign": -1} | battery,
            "switch": {"json": "remote", "is": "ON"} | battery,
        },
        "limits": LIMITS,
        "watchdog_s": 120,
    }
    return meters, control


@pytest.mark.slow
@pytest.mark.skipif(not HOUSE, reason="FEDWATT_HOUSE names no house of a test-bed")
def test_no_limit_is_broken_under_any_fault(tmp_path, broker):
    """Plans that charge at full power, and plans that deliver what was sold, by turns; one fault
    after the other. By the test-bed's own account, minute by minute: while the battery is
    commanded, neither its power nor its store passes the limits; each fault that keeps it from
    obeying is said."""
    home = tmp_path / "home"
    (home / "state").mkdir(parents=True)
    seconds = (len(FAULTS) + 1) * EACH_S
    load, pv = (x[8 * 360 :] for x in flows(5, 2))
    rows = tmp_path / "rows.csv"
    first = 1_795_651_200 + 8 * 3600
    with rows.open("w") as file:
        file.write("timestamp,load,pv\n")
        for k in range(0, seconds // BLOCK_S + 720, 6):
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first + k * BLOCK_S))
            mean = (float(x[k : k + 6].mean()) / 60 for x in (load, pv))
            file.write(f"{stamp},{','.join(map(str, mean))}\n")
    meters, control = _mapping(broker.port)
    anchor = time.time() + 3
    clock = {"at": float(first), "anchor": anchor, "speed": SPEED}
    files = {"client": CLIENT, "meters": meters, "control": control, "clock": clock}
    for name, content in files.items():
        (home / f"{name}.yaml").write_text(yaml.safe_dump(content))
    house = [
        sys.executable, HOUSE, str(rows), "--port", str(broker.port), "--name", "lab",
        "--truth", str(tmp_path / "truth.csv"), "--interval", "60", "--anchor", str(anchor),
        "--at", time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first)), "--speed", str(SPEED),
    ]  # fmt: skip
    commands = [house] + [
        [sys.executable, "-m", f"fl_client.host.{name}", str(home)]
        for name in ("meters", "control")
    ]
    client = Client(CallbackAPIVersion.VERSION2, "faults")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    record, said = Record(home), {}
    state = State(home / "state", durable=False)
    state.begin({"run": "run", "household": "lab", "start": ""}, 0)
    running = [subprocess.Popen(command) for command in commands]
    try:
        for number in range(len(FAULTS) + 1):
            begin = first + number * EACH_S
            while time.time() < anchor + (begin - first) / SPEED:
                time.sleep(0.05)
            action = BUY if number % 2 else HOLD
            state.announce(number, (0, 0 if number % 2 else 2_000_000, 0, 0))
            Steering(
                "run", number, float(begin), float(EACH_S), "rule", {}, (float(action),),
                dict(BATTERY), asdict(ConnectionSpec()), 0.3, 0.05, 0.3, 0.05, 0.4,
            ).write(home / "state")  # fmt: skip
            kind = None if number == 0 else FAULTS[number - 1]
            if kind is not None:
                fault = {"kind": kind, "seconds": EACH_S * 2 / 3}
                client.publish("house/lab/fault/set", json.dumps(fault), 1)
            while time.time() < anchor + (begin + EACH_S - first) / SPEED - 0.2:
                found = record.snapshot()
                if found is not None:
                    said.setdefault(kind, set()).add((found.state, _words(found.why)))
                time.sleep(0.1)
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(20)
        client.disconnect()
        client.loop_stop()
    broken, commanded = [], 0
    with (tmp_path / "truth.csv").open() as file:
        minutes = list(csv.DictReader(file))
    for before, one in pairwise(minutes):
        # Commanded for all of this minute and the one before: what was done was what was told.
        if float(one["auto_share"]) > 0 or float(before["auto_share"]) > 0 or _deaf(one):
            continue
        commanded += 1
        low, high = (float(before["soc_end"]), 0.2), (float(before["soc_end"]), 0.7)
        power = float(one["charge"]) * 60, float(one["discharge"]) * 60
        if power[0] > 3.0 + 1e-6 or power[1] > 2.0 + 1e-6:
            broken.append((one["start"], *power, one["faults"]))
        if not min(low) - 1e-6 <= float(one["soc_end"]) <= max(high) + 1e-6:
            broken.append((one["start"], one["soc_end"], one["faults"]))
    lines = record.commands(most=100_000)
    told = [c.kw for c in lines if c.command == SETPOINT and c.sent]
    print(f"{commanded} of {len(minutes)} minutes commanded, {len(told)} setpoints,",
          f"{sum(c.command == HAND_BACK for c in lines)} hand-backs")  # fmt: skip
    for kind, states in said.items():
        print(kind, sorted(states))
    assert broken == []
    assert -2.0 <= min(told) <= max(told) <= 3.0
    assert commanded > len(minutes) / 3
    assert STEERING in {state for state, _ in said[None]}
    for kind in ("meter_offline", "meter_silent", "late", "refuse", "restart", "deaf", "stuck_soc"):
        assert OWN in {state for state, _ in said[kind]}, (kind, said[kind])
    assert math.isfinite(record.snapshot().at)


def _words(why):
    """A reason without its numbers."""
    return re.sub(r" -?[0-9.]+", " *", why.partition(":")[0])


def _deaf(minute):
    return "deaf" in minute["faults"]
