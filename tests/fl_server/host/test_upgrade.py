"""A coordinator under the Flower of before, then under this one, then by HTTP: its households stay.

`make test-flower` sets FEDWATT_OTHER_PYTHON, the interpreter of an environment with that Flower.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from common.flower_release import speaks_http
from common.processes import environment
from fl_client.host.client_file import ClientFile
from fl_client.host.folder import init_client
from fl_server.host.flower import superlink
from fl_server.host.folder import Deployment, Folder
from fl_server.host.setup import admit_household, init_server
from tests.support.ports import free_port
from tests.support.superlink import service, wait

OTHER = os.environ.get("FEDWATT_OTHER_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OTHER, reason="another release of Flower: make test-flower"),
    pytest.mark.skipif(not speaks_http(), reason="the upgrade is from the other release to this"),
]


@contextmanager
def link(folder: Folder, python: str) -> Iterator[Path]:
    """The folder's SuperLink under an interpreter; yields its log."""
    command, env = superlink(folder)
    log = folder.root / "superlink.log"
    log.unlink(missing_ok=True)
    with log.open("wb") as file:
        process = psutil.Popen([python, *command[1:]], env=env, stdout=file, stderr=file)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(timeout=30)


def online_until(folder: Folder, node: int) -> float:
    """Until when the SuperLink takes a household for online, by its last heartbeat."""
    with closing(sqlite3.connect(f"file:{folder.database}?mode=ro", uri=True)) as db:
        nodes = dict(db.execute("SELECT node_id, online_until FROM node"))
    # SQLite has no unsigned numbers of 64 bits.
    return float(nodes.get(node, nodes.get(node - 2**64, 0.0)) or 0.0)


def test_hosts_are_upgraded_one_after_the_other(tmp_path: Path) -> None:
    """A household of each release connects to the coordinator of before; both are heard again
    after its upgrade, on the database it had, and the newer one after its change to HTTP too: none
    of them is started anew or admitted again."""
    ports = {"fleet_port": free_port(), "control_port": free_port(), "page_port": free_port()}
    flat = ["tariff.source=flat"]
    folder = Folder(tmp_path / "server")
    init_server(folder.root, ["127.0.0.1"], None, flat, None, 1, Deployment(**ports))
    pythons = {"older": OTHER, "newer": sys.executable}
    nodes, address = {}, f"127.0.0.1:{ports['fleet_port']}"
    program = "from fl_client.host.commands import main; main()"
    with ExitStack() as homes:
        with link(folder, OTHER):
            for name, python in pythons.items():
                home = tmp_path / name
                file = ClientFile(name, "synthetic", address, port=free_port(), page_port=0)
                key = init_client(home, file, folder.tls / "ca.crt")
                nodes[name] = admit_household(folder.root, key, name)
                command = [python, "-c", program, "start", str(home)]
                env = environment(home / "flwr", {})
                homes.enter_context(service(command, home / "log.txt", env))
            for name, node in nodes.items():
                wait(lambda node=node: online_until(folder, node) > 0, name)  # type: ignore[misc]
        for transport, heard in (("grpc", ["older", "newer"]), ("http", ["newer"])):
            settings = yaml.safe_load(folder.server_file.read_text())
            folder.server_file.write_text(yaml.safe_dump(settings | {"transport": transport}))
            before = {name: online_until(folder, nodes[name]) for name in heard}
            with link(folder, sys.executable) as log:
                for name in heard:
                    late = before[name] + 1
                    wait(
                        lambda n=nodes[name], late=late: online_until(folder, n) > late,  # type: ignore[misc]
                        f"{name} by {transport}",
                    )
                wait(lambda: log.read_text().count("self-test passed") == 2, "the self-test")
        for name in pythons:
            assert "ended with status" not in (tmp_path / name / "log.txt").read_text()
