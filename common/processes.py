"""Processes on this machine: their environment, their ports, and becoming another one."""

import ipaddress
import os
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from common.errors import InputError

Facts = dict[str, str | int | float | bool | None]
BIN = Path(sys.executable).parent
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
# What a Flower process, and the apps it starts, may have of this environment.
_PASSED = ("HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "TMPDIR", "LD_LIBRARY_PATH")


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a Flower process whose own files are under ``home``."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {
        **passed,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        **(more or {}),
    }


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and no other."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name that only begins like an address may be anybody's.
        return host.lower() == "localhost"


def check_address(name: str, where: str = "address") -> str:
    """Return a host's name or address. Raises InputError, which says ``where``, for neither."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise InputError(
                f"{where} {name!r}: neither a host name nor an IP address: without https:// and "
                "path, for example grid.example.org"
            ) from None
    return name


def exec_process(command: Sequence[str], env: Mapping[str, str]) -> None:
    """Become this process: signals and exit status are its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], list(command), dict(env))


def told_to_stop() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on, instead of ending the process."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    return stop


def listens(port: int) -> bool:
    """Whether a process of this host listens on a port."""
    return any(
        connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
        for connection in psutil.net_connections("inet")
    )
