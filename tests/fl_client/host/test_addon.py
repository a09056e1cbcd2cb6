"""The add-on of Home Assistant: what it makes of its options, against a Supervisor that answers."""

import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

import common
from fl_client.home.mapping import read_mapping
from fl_client.host.client_file import read_client, secrets
from fl_server.host.tls import make_authority

ROOT = Path(__file__).parents[3]
ADDON = ROOT / "configs" / "homeassistant"
BROKER = {"host": "core-mosquitto", "port": 1883, "ssl": False, "username": "u", "password": "p"}


@pytest.fixture
def supervisor() -> Iterator[str]:
    """Answers for the broker, to who shows the add-on's token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            let_in = self.headers.get("Authorization", "").startswith("Bearer token-")
            if self.path != "/services/mqtt" or not let_in:
                self.send_error(401)
                return
            body = json.dumps({"result": "ok", "data": BROKER}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def started(root: Path, url: str, token: str) -> "subprocess.Popen[str]":
    """The add-on's process, as its container starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "fl_client.host.addon", str(root)],
        env=os.environ | {"SUPERVISOR": url, "SUPERVISOR_TOKEN": token},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def said(process: "subprocess.Popen[str]", pattern: str) -> str:
    """The first line that matches."""
    assert process.stdout is not None
    end = time.monotonic() + 60
    for line in process.stdout:
        if re.search(pattern, line):
            return line
        assert time.monotonic() < end
    raise AssertionError(pattern)


def test_options_make_a_household(tmp_path: Path, supervisor: str) -> None:
    """The first start makes the folder and prints what the coordinator needs; the second takes the
    Supervisor's new token and a changed option over, and keeps the key."""
    for folder in ("data", "config"):
        (tmp_path / folder).mkdir()
    options = {"name": "maple-7", "server": "127.0.0.1:9", "currency": "EUR", "poll_s": 3}
    (tmp_path / "data" / "options.json").write_text(json.dumps(options))
    none = started(tmp_path, supervisor, "token-1")
    assert none.communicate(timeout=60)[0].startswith("fedwatt: put the community's ca.crt into")
    assert none.returncode == 2
    make_authority(tmp_path / "config")
    (tmp_path / "config" / "meters.yaml").write_text("[{role: import, entity: sensor.grid}]")
    keys = []
    for token, changed in (("token-1", "EUR"), ("token-2", "SEK")):
        options["currency"] = changed
        (tmp_path / "data" / "options.json").write_text(json.dumps(options))
        process = started(tmp_path, supervisor, token)
        try:
            keys.append(said(process, "public key, for the coordinator").split(": ")[-1])
            said(process, "token of the page")
        finally:
            process.terminate()
            process.communicate(timeout=60)
        home = tmp_path / "data" / "home"
        file, kept = read_client(home), secrets(home)
        assert (file.name, file.currency, file.discovery) == ("maple-7", changed, "homeassistant")
        assert file.page_host == "0.0.0.0"
        assert kept["FEDWATT_HOMEASSISTANT_TOKEN"] == token
        assert kept["FEDWATT_MQTT"] == "mqtt://core-mosquitto:1883"
        assert (kept["FEDWATT_MQTT_USER"], kept["FEDWATT_MQTT_PASSWORD"]) == ("u", "p")
        assert stat.S_IMODE((home / "secret.env").stat().st_mode) == 0o600
        assert [one.role for one in read_mapping(home / "meters.yaml")] == ["import"]
    assert keys[0] == keys[1]
    assert keys[0].startswith("ecdsa-sha2-nistp384 ")


def test_its_description_fits_what_it_does() -> None:
    """The version is the product's; the schema has every option, and the page's port is published;
    the image starts it."""
    described = yaml.safe_load((ADDON / "config.yaml").read_text())
    assert described["version"] == common.__version__
    used = set(re.findall(r'options\["(\w+)"\]', (ROOT / "fl_client/host/addon.py").read_text()))
    assert set(described["schema"]) == set(described["options"]) == used
    assert described["ports"] == {"9481/tcp": 9481}
    assert '["python", "-m", "fl_client.host.addon"]' in (ADDON / "Dockerfile").read_text()
