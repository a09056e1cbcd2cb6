"""Separate hosts on one machine: network namespaces with their own addresses on one switch."""

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

_PREFIX = "fw"
_NET = "10.77.0"


def why_not() -> str | None:
    """Why hosts cannot be built here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip (iproute2)"
    name = f"{_PREFIX}-try-{os.getpid()}"
    tried = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


_REASON = why_not()
HOSTS_TESTS = [
    pytest.mark.hosts,
    pytest.mark.waits,
    pytest.mark.slow,
    pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]
"""How a module of tests is marked that builds hosts."""


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """Namespaces ``fwPID-NAME`` joined by a bridge that lives in a namespace of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._tag = f"{_PREFIX}{os.getpid()}"
        self.addresses = {name: f"{_NET}.{10 + i}" for i, name in enumerate(names)}
        self._links: dict[str, str] = {}
        self._switch = f"{self._tag}-switch"
        _ip("netns", "add", self._switch)
        try:
            _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "bridge", "up")
            for number, name in enumerate(names):
                self._add(name, number)
        except BaseException:
            self.close()
            raise

    def _add(self, name: str, number: int) -> None:
        namespace, near = self.namespace(name), f"p{number}"
        _ip("netns", "add", namespace)
        _ip(
            "-n", self._switch, "link", "add", near, "type", "veth",
            "peer", "name", "eth0", "netns", namespace,
        )  # fmt: skip
        _ip("-n", self._switch, "link", "set", near, "master", "bridge", "up")
        _ip("-n", namespace, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        self._links[name] = near

    def namespace(self, name: str) -> str:
        """The namespace of a host."""
        return f"{self._tag}-{name}"

    def command(self, name: str, *arguments: str) -> list[str]:
        """A command as it is run on a host."""
        return ["ip", "netns", "exec", self.namespace(name), *arguments]

    def cable(self, name: str, *, plugged: bool) -> None:
        """Plug a host's cable in or out, at the switch."""
        state = "up" if plugged else "down"
        _ip("-n", self._switch, "link", "set", self._links[name], state)

    def traffic(self, name: str) -> tuple[int, int]:
        """Bytes a host has received and sent over its cable, everything included."""
        text = subprocess.run(
            self.command(name, "cat", "/proc/net/dev"), check=True, capture_output=True, text=True
        ).stdout
        fields = next(line for line in text.splitlines() if "eth0" in line).split()
        return int(fields[1]), int(fields[9])

    def close(self) -> None:
        """Take everything down."""
        for name in [*(self.namespace(n) for n in self.addresses), self._switch]:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
