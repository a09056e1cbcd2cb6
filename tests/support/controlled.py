"""A household's folder whose battery is controlled, and the processes that run for it."""

import signal
import subprocess
import sys
import time
from dataclasses import asdict

import yaml

from common.energy.connection import ConnectionSpec
from fl_client.control.record import STEERING, Record
from fl_client.control.steering import Steering
from tests.support.mqtt_house import control, meters
from tests.support.steered import BATTERY

CLIENT = {"name": "maple", "data": "meters", "server": "127.0.0.1:9092", "insecure": True}


class Controlled:
    """``house``: an ``MqttHouse``. ``files``: others than those of a house on MQTT."""

    def __init__(self, folder, broker, house, clock=None, files=None):
        self.folder, self.house = folder, house
        (folder / "state").mkdir(parents=True)
        self.clock = clock = clock or house.clock
        files = {
            "client.yaml": CLIENT,
            "meters.yaml": meters(broker.port),
            "control.yaml": control(broker.port),
            "clock.yaml": {"at": clock.at, "anchor": clock.anchor, "speed": clock.speed},
        } | (files or {})
        for name, content in files.items():
            (folder / name).write_text(yaml.safe_dump(content))
        # A plan that serves its house, whatever the price, for a long interval.
        Steering(
            "run", 0, clock.now() - 600, 86400.0, "greedy", {}, (0.0,), dict(BATTERY),
            asdict(ConnectionSpec()), 0.3, 0.05, 0.3, 0.05, 0.2,
        ).write(folder / "state")  # fmt: skip
        self._running = {}
        self.record = Record(folder)

    def start(self, *names):
        for name in names:
            command = [sys.executable, "-m", f"fl_client.host.{name}", str(self.folder)]
            self._running[name] = subprocess.Popen(command)

    def kill(self, name, sign=signal.SIGKILL):
        self._running[name].send_signal(sign)
        return self._running.pop(name).wait(20)

    def close(self):
        for name in list(self._running):
            self.kill(name, signal.SIGTERM)

    def until(self, happened, seconds=40.0):
        end = time.monotonic() + seconds
        while not happened():
            found = self.record.snapshot(), self.record.commands(most=5)
            assert time.monotonic() < end, found
            time.sleep(0.05)

    def state(self, state, words=""):
        """Whether control says so, now."""
        found = self.record.snapshot()
        fresh = found is not None and self.clock.now() - found.at < 60
        return fresh and found.state == state and words in found.why

    def steered(self):
        return self.state(STEERING) and self.house.house.mode == "remote"
