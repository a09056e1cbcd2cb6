"""A real coordinator on loopback: its folder, its SuperLink, and processes that end with a test."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml

from fl_server.host.flower import superlink
from fl_server.host.folder import Deployment, Folder
from fl_server.host.setup import init_server
from simulations.processes import end
from tests.support.ports import free_port

PATIENCE_S = 240.0


def started(folder: Folder) -> psutil.Popen:
    """The SuperLink of a folder, once it answers. Whoever asked for it ends it."""
    command, env = superlink(folder)
    log = folder.root / "superlink.log"
    with log.open("ab") as file:
        process = psutil.Popen(command, env=env, stdout=file, stderr=file)
    wait(lambda: process.poll() is not None or "Uvicorn running" in log.read_text(), "SuperLink")
    assert process.poll() is None, log.read_text()[-2000:]
    return process


def wait(true: Callable[[], bool], what: str) -> None:
    """Return once ``true()``; fails after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.2)


@contextmanager
def service(command: Sequence[str], log: Path, env: Mapping[str, str]) -> Iterator[psutil.Process]:
    """A process and all it starts, ended on the way out."""
    with log.open("ab") as file:
        process = psutil.Popen(command, env=dict(env), stdout=file, stderr=file, cwd=log.parent)
    try:
        yield process
    finally:
        end(process, 15.0)


@contextmanager
def coordinator(
    root: Path,
    override: Sequence[str],
    tariff: str | None = None,
    households: int = 1,
    transport: str = "grpc",
) -> Iterator[Folder]:
    """A server's folder with its SuperLink up; it waits as long as it must for its households."""
    ports = {name: free_port() for name in ("fleet_port", "control_port", "page_port")}
    init_server(root, ["127.0.0.1"], None, override, tariff, households, Deployment(**ports))
    folder = Folder(root)
    patient = {"lead_s": 1.0, "market_deadline_s": 300.0, "closing_deadline_s": 300.0}
    patient |= {"transport": transport}
    file = folder.server_file
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | patient))
    process = started(folder)
    try:
        yield folder
    finally:
        process.terminate()
        process.wait(timeout=30)


def run(folder: Folder, log: Path) -> None:
    """The whole run, as fast as it goes; fails where it does not end well."""
    program = "from simulations.cli import main; main()"
    command = [sys.executable, "-c", program, "server", "run", str(folder.root)]
    with log.open("wb") as file:
        done = subprocess.run(
            [*command, "--speed", "max", "--no-page"],
            stdout=file, stderr=file, check=False, timeout=2 * PATIENCE_S,
        )  # fmt: skip
    assert done.returncode == 0, log.read_text()[-2000:]
