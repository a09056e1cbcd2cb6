"""Processes on this machine: their environment, their ports, and becoming another one."""

import errno
import ipaddress
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from common.errors import InputError

Facts = dict[str, str | int | float | bool | None]
BIN = Path(sys.executable).parent
PORT_PATIENCE_S = 10.0
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
    """An event that SIGTERM, SIGINT and SIGHUP set from now on, instead of ending the process."""
    stop = threading.Event()
    names = [signal.SIGTERM, signal.SIGINT]
    # Under nohup it is ignored: what it starts outlives its terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        names.append(signal.SIGHUP)
    for name in names:
        signal.signal(name, lambda *_: stop.set())
    return stop


def check_port(host: str, port: int, key: str) -> None:
    """Raise InputError for a port that is taken; ``key``: which key of which file names it.

    What is left of who was killed a moment ago leaves it within PORT_PATIENCE_S.
    """
    end = time.monotonic() + PORT_PATIENCE_S
    while _taken(host, port):
        if time.monotonic() > end:
            raise InputError(
                f"{key} {port}: another process listens there: end it, or name another port"
            )
        time.sleep(0.2)


def _taken(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as plug:
        # As servers do: what was closed a moment ago is free.
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            plug.bind((host, port))
        except OSError as error:
            # What else is wrong with it, the server itself says.
            return error.errno == errno.EADDRINUSE
    return False


def listens(port: int) -> bool:
    """Whether a process of this host listens on a port."""
    return any(
        connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
        for connection in psutil.net_connections("inet")
    )
