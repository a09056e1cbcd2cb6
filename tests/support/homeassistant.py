"""A fresh Home Assistant on loopback with a broker, without a browser; ``FEDWATT_HASS`` names it.

``make test-live`` makes an environment for it. Its clock may run faster: under libfaketime.
"""

import json
import os
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from fl_client.home.sources.homeassistant import Session
from tests.support.broker import free_port

HASS = os.environ.get("FEDWATT_HASS", "")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_CONFIG = """
homeassistant:
  name: Lab
  time_zone: Europe/Amsterdam
  latitude: 52.1
  longitude: 5.1
  unit_system: metric
  currency: EUR
  country: NL
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
websocket_api:
config:
auth:
onboarding:
recorder:
  commit_interval: 1
history:
energy:
logger:
  default: warning
"""


class HomeAssistant:
    """``url`` and ``token`` of one that runs and listens to a broker; ``clock``: (shows, speed)."""

    def __init__(self, folder, broker, clock=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "config"
        config.mkdir(parents=True)
        (config / "configuration.yaml").write_text(_CONFIG.format(port=self.port))
        environment = dict(os.environ)
        environment.pop("PYTHONPATH", None)
        if clock is not None:
            shows, speed = clock
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(shows))
            environment |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"@{stamp} x{speed}"}
        self._log = (folder / "log").open("wb")
        self.anchor = time.time()
        self._process = subprocess.Popen(
            [HASS, "--config", config], env=environment, stdout=self._log, stderr=self._log
        )
        self.token = self._onboard()
        self._post("config/config_entries/flow", {"handler": "mqtt"}, then=lambda flow: self._post(
            f"config/config_entries/flow/{flow['flow_id']}",
            {"broker": "127.0.0.1", "port": broker.port},
        ))  # fmt: skip

    def _onboard(self):
        self._wait_for("/api/onboarding")
        owner = {"client_id": self.url, "name": "Lab", "username": "lab", "password": "loopback",
                 "language": "en"}  # fmt: skip
        code = self._send("/api/onboarding/users", json.dumps(owner).encode())["auth_code"]
        form = {"client_id": self.url, "grant_type": "authorization_code", "code": code}
        short = self._send("/auth/token", urllib.parse.urlencode(form).encode(), form=True)
        session = Session(self.url, short["access_token"])
        lasting = {"type": "auth/long_lived_access_token", "client_name": "test", "lifespan": 365}
        token = session.ask(**lasting)
        session.close()
        return token

    def _wait_for(self, path, seconds=400):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self._process.poll() is None, "Home Assistant has ended"
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise TimeoutError(path)

    def _send(self, path, body, form=False, token=None):
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        head = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(self.url + path, body, head)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def _post(self, path, body, then=lambda answer: answer):
        return then(self._send(f"/api/{path}", json.dumps(body).encode(), token=self.token))

    def session(self):
        """A connection that may do everything."""
        return Session(self.url, self.token)

    def stop(self):
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def discovery(name, topic, roles):
    """(Topic, configuration) of sensors that read JSON on ``topic``."""
    for role in roles:
        soc, power = role == "soc", role == "power"
        config = {
            "name": role, "unique_id": f"{name}_{role}", "object_id": f"{name}_{role}",
            "state_topic": topic, "device": {"identifiers": [name], "name": name},
            "value_template": "{{ value_json.%s }}"
            % (role if soc else "power_w" if power else f"{role}_kwh"),
            "state_class": "measurement" if soc or power else "total_increasing",
            "device_class": "battery" if soc else "power" if power else "energy",
            "unit_of_measurement": "%" if soc else "W" if power else "kWh",
        }  # fmt: skip
        yield f"homeassistant/sensor/{name}/{role}/config", json.dumps(config)
