"""A community on separate hosts, run by the same commands its keepers would type.

Services are started again when they die, as systemd would: by a loop here, after a second.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from tests.hosts.network import Hosts

FEDWATT = (sys.executable, "-c", "from simulations.cli import main; main()")
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

    def kill(self) -> None:
        """kill -9 of everything the service has started in its group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop for good."""
        self._stopped.set()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._thread.join(timeout=20)

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

    def start(self, name: str, host: str, *command: str) -> Service:
        """Start a service on a host."""
        service = Service(self.hosts.command(host, *command), self.root / f"{name}.log")
        self.services[name] = service
        return service

    def start_server(self) -> None:
        """Start the SuperLink and wait until it answers."""
        self.start("superlink", "server", *FEDWATT, "server", "start", str(self.server))
        self.await_(lambda: "Uvicorn running" in self.log("superlink"), "the SuperLink")

    def client(self, name: str, port: int = 9092, ca: Path | None = None) -> str:
        """Make a household's folder; returns its public key."""
        return self.fedwatt(
            name, "client", "init", str(self.root / name), "--name", name,
            "--data", str(self.homes / f"{name}.parquet"),
            "--server", f"{self.address}:{port}",
            "--ca", str(ca or self.server / "tls" / "ca.crt"),
        )  # fmt: skip

    def admit(self, name: str, key: str) -> None:
        """Register a household's key."""
        self.fedwatt("server", "server", "admit", str(self.server), key, "--name", name)

    def start_household(self, name: str) -> None:
        """Start a household's daemon."""
        self.start(name, name, *FEDWATT, "client", "start", str(self.root / name))

    def run(self, speed: str = "max") -> None:
        """Start the run, as a service."""
        self.start(
            "run", "server", *FEDWATT, "server", "run", str(self.server),
            "--speed", speed, "--no-page",
        )  # fmt: skip

    def log(self, name: str) -> str:
        """What a service has printed."""
        file = self.root / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def journal(self) -> list[dict[str, object]]:
        """Events of the coordinator."""
        file = self.server / "log" / "coordinator.jsonl"
        return [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []

    def interval(self) -> int:
        """The next interval to run."""
        file = self.server / "run" / "status.json"
        return int(json.loads(file.read_text())["interval"]) if file.exists() else -1

    def await_(self, true: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is true, or fail."""
        end = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end, f"waited {patience_s:.0f} s for {what}"
            time.sleep(0.5)

    def finish(self) -> None:
        """Wait until the run is finished."""
        self.await_(lambda: self.services["run"].done(), "the end of the run", 4 * PATIENCE_S)

    def close(self) -> None:
        """Stop every service and take the hosts down."""
        for service in self.services.values():
            service.stop()
        self.hosts.close()
