"""Processes that a command starts for a while: ended, with all they start, when it ends."""

import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from fl_client.host.keeper import TIED

_PORTS = range(20_000, 32_000)


@contextmanager
def service(
    command: Sequence[str], env: Mapping[str, str] | None, log: Path
) -> Iterator[psutil.Process]:
    """A process and all it starts, ended on the way out, and when this process is killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = psutil.Popen(
            command, env=env, stdout=file, stderr=file, start_new_session=True, preexec_fn=TIED
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        end(process)


def end(process: psutil.Process, patience_s: float = 10.0) -> None:
    """End a process and all it starts: by SIGTERM, and by SIGKILL those that are still there."""
    found = []
    with suppress(psutil.NoSuchProcess):
        found = [process, *process.children(recursive=True)]
    for one in found:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGTERM)
    for one in psutil.wait_procs(found, timeout=patience_s)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()


@contextmanager
def alongside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let ``work`` run in a thread of its own; on the way out the event it is given is set."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=60)


def wait_for(true: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until it is true; RuntimeError that ``what`` did not come up where it takes longer."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not come up within {seconds:.0f} s")
        time.sleep(0.5)


def text_of(path: Path) -> str:
    """What a file holds so far."""
    return path.read_text(errors="replace") if path.exists() else ""


def free_ports(count: int) -> list[int]:
    """Ports of loopback in a row that nobody uses at the moment.

    None of those that a system gives to connections that go out (from 32768 on by Linux, from
    49152 on elsewhere): one of them can be taken before it is listened on, and for hours.
    """
    while True:
        first = _PORTS.start + secrets.randbelow(len(_PORTS) - count)
        found = list(range(first, first + count))
        with ExitStack() as stack, suppress(OSError):
            for port in found:
                plug = stack.enter_context(socket.socket())
                # As servers do: what was closed a moment ago is free.
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                plug.bind(("127.0.0.1", port))
            return found
