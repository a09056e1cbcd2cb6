"""A household's client is started once: a second one is told so, and harms no first one."""

import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from common import processes
from fl_client.host.client_file import ClientFile
from fl_client.host.commands import app
from fl_client.host.folder import init_client
from fl_server.host.tls import make_authority
from tests.support.commands import refused
from tests.support.ports import free_port
from tests.support.signals import as_at_a_terminal

FILE = ClientFile("maple-7", "synthetic", "127.0.0.1:9")
START = [sys.executable, "-c", "from fl_client.host.commands import main; main()", "start"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A household's folder, whose coordinator is not there."""
    make_authority(tmp_path)
    init_client(tmp_path / "home", replace(FILE, port=free_port()), tmp_path / "ca.crt")
    return tmp_path / "home"


def test_a_second_client_of_a_home_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with status 2 and one line, which names the first; that one goes on, and leaves the
    folder free when its terminal is closed. A port that another process has is refused too."""
    first = subprocess.Popen([*START, home], stderr=subprocess.DEVNULL, preexec_fn=as_at_a_terminal)
    lock = home / "client.lock"
    try:
        end = time.monotonic() + 60
        while not (lock.exists() and lock.read_text()):
            assert time.monotonic() < end
            time.sleep(0.1)
        second = subprocess.run([*START, home], capture_output=True, text=True, check=False)
        assert second.returncode == 2
        said = f"{home}: its client runs already (process {first.pid})"
        assert second.stderr == f"fedwatt-client: {said}\n"
        # It has become the keeper, and holds the folder still.
        assert first.poll() is None
        assert said in refused(app, "start", str(home))
    finally:
        first.send_signal(signal.SIGHUP)
        first.wait(30)
    monkeypatch.setattr(processes, "PORT_PATIENCE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        file = home / "client.yaml"
        port = other.getsockname()[1]
        file.write_text(file.read_text().replace("\nport: ", f"\nport: {port} # "))
        assert f"{file}: port {port}: another process listens" in refused(app, "start", str(home))
