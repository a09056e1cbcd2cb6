"""A mosquitto of one's own on loopback, which keeps sessions and may be stopped and started."""

import getpass
import shutil
import socket
import subprocess
import time

import pytest

from tests.support.ports import free_port

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker:
    """``port``: where it listens; nobody needs a password."""

    def __init__(self, folder):
        self._folder, self.port = folder, free_port()
        (folder / "data").mkdir(parents=True)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser {getpass.getuser()}\n"
            f"persistence true\npersistence_location {folder / 'data'}/\nautosave_interval 1\n"
        )
        self._process = None
        self.start()

    def start(self):
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen([MOSQUITTO, "-c", self._config], stdout=log, stderr=log)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError((self._folder / "log").read_text())

    def stop(self):
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def broker(tmp_path):
    """A running broker. Skipped without mosquitto."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
    made = Broker(tmp_path / "broker")
    yield made
    made.stop()
