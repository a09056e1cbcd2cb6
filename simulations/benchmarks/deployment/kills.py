"""Processes of a running community, killed in turn with no warning: what a power cut is to each."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path

import psutil

from common.files import read_passing
from simulations.processes import alongside

Find = Callable[[], Sequence[psutil.Process]]


@contextmanager
def killed(
    victims: Mapping[str, Find], status: Path, log: Path, *, every: int, pause_s: float = 0.5
) -> Iterator[None]:
    """Kill one victim after each ``every`` intervals, in turn, and write a line to ``log`` each.

    ``victims``: what finds the processes of each; one that is not there at the moment is looked
    for until it is. ``status``: the coordinator's status file, which tells the interval.
    """

    def watch(over: threading.Event) -> None:
        with log.open("w", encoding="utf-8") as file:
            for number, (name, find) in enumerate(cycle(victims.items()), start=1):
                due = number * every
                found: Sequence[psutil.Process] = ()
                while read_passing(status).get("interval", -1) < due or not (found := find()):
                    if over.wait(pause_s):
                        return
                for one in found:
                    with suppress(psutil.NoSuchProcess):
                        one.send_signal(signal.SIGKILL)
                line = {"time": time.time(), "interval": due, "killed": name, "of": len(found)}
                file.write(json.dumps(line) + "\n")
                file.flush()

    with alongside(watch):
        yield


def below(keeper: psutil.Process) -> list[psutil.Process]:
    """All that a keeper has started, itself left out."""
    with suppress(psutil.NoSuchProcess):
        return keeper.children(recursive=True)
    return []


def named(keeper: psutil.Process, word: str) -> list[psutil.Process]:
    """Those below a keeper whose command line has the word."""
    found = []
    for one in below(keeper):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(word in part for part in one.cmdline()):
                found.append(one)
    return found
