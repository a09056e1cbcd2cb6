"""A Ray cluster on separate hosts: each has its own address and its own /tmp/ray."""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.hosts.network import Hosts

_RAY = Path(sys.executable).with_name("ray")
_PORT = 6379
_START_S = 180.0
# Nothing of one host's Ray is seen by another, nor by the machine's own /tmp/ray.
_OWN_TMP = 'mkdir -p /tmp/ray && mount --bind "$0" /tmp/ray && exec "$@"'
_QUIET = ("--disable-usage-stats", "--block")


class RayHosts:
    """Hosts ``cores`` by name, the first of them the head; all know one token."""

    def __init__(self, folder: Path, cores: dict[str, int]) -> None:
        self._folder = folder
        self._hosts = Hosts(list(cores))
        self._head = next(iter(cores))
        self.address = f"{self._hosts.addresses[self._head]}:{_PORT}"
        self._env = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(sys.path),
            OMP_NUM_THREADS="1",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),
        )
        self._env.pop("RAY_ADDRESS", None)
        self._started: list[subprocess.Popen[str]] = []
        try:
            for name, count in cores.items():
                self._start(name, count)
        except BaseException:
            self.close()
            raise

    def _start(self, name: str, cores: int) -> None:
        where = [f"--address={self.address}"]
        if name == self._head:
            where = ["--head", f"--port={_PORT}", "--include-dashboard=false"]
        own = f"--node-ip-address={self._hosts.addresses[name]}"
        log = self._folder / f"{name}.txt"
        with log.open("w") as file:
            ray = subprocess.Popen(
                self.command(name, str(_RAY), "start", *where, own, f"--num-cpus={cores}", *_QUIET),
                env=self._env, stdout=file, stderr=subprocess.STDOUT, text=True,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._started.append(ray)
        end = time.monotonic() + _START_S
        while "Ray runtime started" not in log.read_text():
            assert ray.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.2)

    def command(self, name: str, *arguments: str) -> list[str]:
        """A command as it is run on a host."""
        own = self._folder / name
        own.mkdir(exist_ok=True)
        return self._hosts.command(
            name, "unshare", "--mount", "sh", "-c", _OWN_TMP, str(own), *arguments
        )

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a Python command on the head."""
        began = subprocess.Popen(
            self.command(self._head, sys.executable, *arguments),
            env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._started.append(began)
        return began

    def processes(self, name: str) -> list[psutil.Process]:
        """What runs on a host."""
        told = subprocess.run(
            ["ip", "netns", "pids", self._hosts.namespace(name)],
            check=False, capture_output=True, text=True,
        ).stdout  # fmt: skip
        return [psutil.Process(int(pid)) for pid in told.split() if psutil.pid_exists(int(pid))]

    def actors(self, name: str) -> list[psutil.Process]:
        """The processes of a host in which households run."""
        return [one for one in self.processes(name) if one.name().startswith("ray::Block")]

    def unplug(self, name: str) -> None:
        """Cut a host off, which goes on by itself."""
        self._hosts.cable(name, plugged=False)

    def cut(self, name: str) -> None:
        """Take the power from a host: nobody on the network hears of it."""
        self.unplug(name)
        self.kill(name)

    def kill(self, name: str) -> None:
        """End everything on a host at once, so that its connections are reset."""
        for _ in range(3):  # somebody may just be starting somebody
            for one in self.processes(name):
                try:
                    one.kill()
                except psutil.NoSuchProcess:
                    continue

    def close(self) -> None:
        """Take everything down."""
        for name in self._hosts.addresses:
            self.kill(name)
        for one in self._started:
            one.wait()
        self._hosts.close()
