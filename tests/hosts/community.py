"""A community on separate hosts, run by the same commands its keepers would type.

Services are started again when they die, as systemd would: by a loop here, after a second.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

from fl_server.host.folder import Folder
from fl_server.host.members import read_members
from tests.hosts.network import Hosts

FEDWATT = (sys.executable, "-c", "from simulations.cli import main; main()")
# How often a household asks for messages. Oftener costs more than it gains: eight share a core.
POLL = "2"
TRANSPORT = os.environ.get("FEDWATT_TRANSPORT", "grpc")
PATIENCE_S = float(os.environ.get("FEDWATT_HOSTS_PATIENCE", "900"))


class Service:
    """A process group that is started again whenever it ends, until it is stopped."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self._log = command, log
        self._stopped = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.status: int | None = None
        self.starts = 0
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._stopped.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, stdout=log, stderr=log, start_new_session=True
                )
            self.starts += 1
            self.status = self._process.wait()
            if self.status == 0:
                return
            self._stopped.wait(1.0)

    def processes(self) -> list[psutil.Process]:
        """What runs of the service now, its descendants included."""
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            top = psutil.Process(self._process.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """kill -9 of everything the service has started, as a power cut would."""
        self._end(psutil.Process.kill)

    def stop(self) -> None:
        """Stop for good."""
        self._stopped.set()
        left = self._end(psutil.Process.terminate)
        for process in psutil.wait_procs(left, timeout=15)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._thread.join(timeout=20)

    def _end(self, how: Callable[[psutil.Process], None]) -> list[psutil.Process]:
        found = self.processes()
        for process in found:
            with suppress(psutil.NoSuchProcess):
                how(process)
        return found

    def done(self) -> bool:
        """Whether it has ended well."""
        return not self._thread.is_alive() and self.status == 0


class Community:
    """One server and some households, each on a host of its own."""

    def __init__(self, root: Path, homes: Path, names: Sequence[str], *override: str) -> None:
        self.root, self.homes, self.names = root, homes, list(names)
        self.hosts = Hosts(["server", *names])
        self.server = root / "server"
        self.address = self.hosts.addresses["server"]
        self.services: dict[str, Service] = {}
        pairs = [part for pair in override for part in ("--set", pair)]
        self.fedwatt(
            "server", "server", "init", str(self.server), "--address", self.address,
            "--tariff", str(homes), "--households", str(len(names)), *pairs,
            "--transport", TRANSPORT,
        )  # fmt: skip
        self.configure(lead_s=1.0, market_deadline_s=600.0, closing_deadline_s=600.0)

    def configure(self, **values: float) -> None:
        """Change keys of ``server.yaml``."""
        file = self.server / "server.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))

    def fedwatt(self, host: str, *arguments: str, check: bool = True) -> str:
        """Run a command on a host and return what it prints."""
        done = subprocess.run(
            self.hosts.command(host, *FEDWATT, *arguments),
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip() if check else done.stdout + done.stderr

    def on(self, host: str, *command: str) -> str:
        """Run any command on a host and return what it prints."""
        done = subprocess.run(
            self.hosts.command(host, *command),
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, name: str, host: str, *command: str) -> Service:
        """Start a service on a host."""
        service = Service(self.hosts.command(host, *command), self.root / f"{name}.log")
        self.services[name] = service
        return service

    def start_server(self) -> None:
        """Start the SuperLink and wait until it answers."""
        self.start("superlink", "server", *FEDWATT, "server", "start", str(self.server))
        self.await_(lambda: "Uvicorn running" in self.log("superlink"), "the SuperLink")

    def client(
        self,
        name: str,
        folder: str | None = None,
        *,
        port: int = 9092,
        ca: Path | None = None,
        own_port: int = 9094,
    ) -> str:
        """Make a household's folder, on its host; returns its public key."""
        return self.fedwatt(
            name, "client", "init", str(self.root / (folder or name)), "--name", name,
            "--data", str(self.homes / f"{name}.parquet"),
            "--server", f"{self.address}:{port}", "--port", str(own_port), "--poll", POLL,
            "--ca", str(ca or self.server / "tls" / "ca.crt"),
        )  # fmt: skip

    def admit(self, name: str, key: str) -> None:
        """Register a household's key."""
        self.fedwatt("server", "server", "admit", str(self.server), key, "--name", name)

    def start_household(self, name: str, folder: str | None = None) -> None:
        """Start a household's daemon; of another folder, beside the host's own."""
        folder = folder or name
        self.start(folder, name, *FEDWATT, "client", "start", str(self.root / folder))

    def run(self, hour: int = 0, speed: str = "max") -> None:
        """Start the run at an hour of its first day, as a service."""
        first = Folder(self.server).deployment().start
        assert first is not None
        start = (first + timedelta(hours=hour)).astimezone(UTC)
        self.start(
            "run", "server", *FEDWATT, "server", "run", str(self.server),
            "--speed", speed, "--no-page", "--start", f"{start:%Y-%m-%dT%H:%M}",
        )  # fmt: skip

    def log(self, name: str) -> str:
        """What a service has printed."""
        file = self.root / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def journal(self) -> list[dict[str, object]]:
        """Events of the coordinator."""
        file = self.server / "log" / "coordinator.jsonl"
        return [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []

    def status(self) -> dict[str, Any]:
        """What the coordinator says it is doing; interval -1 before it says anything."""
        file = self.server / "run" / "status.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return {"interval": -1, "phase": ""} | found

    def interval(self) -> int:
        """The next interval to run."""
        return int(self.status()["interval"])

    def node(self, name: str) -> int:
        """Node id of an admitted household."""
        members = read_members(Folder(self.server).members)
        return next(m.node_id for m in members if m.name == name and m.node_id is not None)

    def received(self, name: str) -> list[str]:
        """Ids of the market requests a household was sent, as its log has them."""
        return re.findall(r"Receiving: query\.interval message \(ID: (\w+)\)", self.log(name))

    def working(self, name: str) -> bool:
        """Whether a household's app is at work on a message."""
        found = 0
        for process in self.services[name].processes():
            with suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                found += "fl_client.host.node" in words and "fl_client.host.keeper" not in words
        return found > 2  # its SuperNode, the executor, and a fork of that

    def decided(self, name: str) -> int:
        """The newest interval a household has decided, by its own database."""
        file = self.root / name / "state" / "household.sqlite"
        if not file.exists():
            return -1
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            newest = db.execute("SELECT max(t) FROM intervals").fetchone()[0]
        return -1 if newest is None else int(newest)

    def booked(self) -> int:
        """The newest interval that is committed, by the state that is committed with it."""
        file = self.server / "run" / "ledger.sqlite"
        if not file.exists():
            return -1
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            try:
                found = db.execute("SELECT state FROM ledger_states").fetchone()
            except sqlite3.OperationalError:  # a ledger that has no tables yet
                found = None
        return -1 if found is None else int(json.loads(found[0])["t"]) - 1

    def await_(self, true: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is true, or fail."""
        end = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end, f"waited {patience_s:.0f} s for {what}"
            time.sleep(0.1)

    def finish(self) -> None:
        """Wait until the run is finished."""
        self.await_(lambda: self.services["run"].done(), "the end of the run", 4 * PATIENCE_S)

    def close(self) -> None:
        """Stop every service and take the hosts down."""
        for service in reversed(self.services.values()):
            service.stop()
        self.hosts.close()
