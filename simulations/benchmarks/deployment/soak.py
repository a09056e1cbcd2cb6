"""What grows while a community runs: memory and descriptors of each process, and its folders."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from common.files import read_passing
from simulations.processes import alongside

# What is compared with the end: by then everybody has loaded what it needs.
_WARM = 100


@dataclass(frozen=True)
class Grown:
    """What one part had at the end, relative to what it had after ``_WARM`` intervals, or after a
    sixth of a shorter run. ``memory``: proportional set size; ``descriptors``: open at each time.
    """

    memory_mb: tuple[float, float]
    descriptors: tuple[int, int]

    @property
    def memory(self) -> float:
        """Memory at the end over memory then."""
        return self.memory_mb[1] / self.memory_mb[0]


@dataclass(frozen=True)
class Soaked:
    """Parts by name, and the kB that each folder grew by per interval."""

    intervals: int
    parts: Mapping[str, Grown]
    disk_kb: Mapping[str, float]


@contextmanager
def watched(
    parts: Mapping[str, psutil.Process],
    folders: Mapping[str, Path],
    status: Path,
    log: Path,
    pause_s: float = 5.0,
) -> Iterator[None]:
    """Write a line to ``log`` every ``pause_s`` seconds: interval, memory, descriptors, disk.

    ``parts``: the first process of each; all it starts belongs to it. ``status``: the
    coordinator's status file, which tells the interval.
    """

    def watch(over: threading.Event) -> None:
        with log.open("w", encoding="utf-8") as file:
            while not over.wait(pause_s):
                line = {
                    "time": time.time(),
                    "interval": read_passing(status).get("interval", -1),
                    "parts": {name: _weigh(process) for name, process in parts.items()},
                    "disk": {name: _size(folder) for name, folder in folders.items()},
                }
                file.write(json.dumps(line) + "\n")
                file.flush()

    with alongside(watch):
        yield


def _weigh(process: psutil.Process) -> tuple[float, int]:
    """Memory [MB] and open descriptors of a process and all it has started."""
    memory, descriptors = 0.0, 0
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory += one.memory_full_info().pss / 1e6
                descriptors += one.num_fds()
    return memory, descriptors


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; of those that go meanwhile none."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def grown(log: Path) -> Soaked:
    """Read what ``watched`` wrote. Raises ValueError for a run that was too short to tell."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["interval"] > 0]
    if len(lines) < 3:
        raise ValueError(f"{log}: {len(lines)} looks at a running community; 3 are needed")
    last = lines[-1]["interval"]
    warm = min(_WARM, last // 6)
    # What a process starts for a while comes and goes: the middle of a tenth of the looks.
    few = max(len(lines) // 10, 1)
    first = next(i for i, line in enumerate(lines) if line["interval"] >= warm)
    early, late = lines[first : first + few], lines[-few:]

    def middle(some: list[dict[str, dict[str, list[float]]]], part: str, which: int) -> float:
        return float(np.median([line["parts"][part][which] for line in some]))

    parts = {
        part: Grown(
            (middle(early, part, 0), middle(late, part, 0)),
            (round(middle(early, part, 1)), round(middle(late, part, 1))),
        )
        for part in lines[0]["parts"]
    }
    since = [line for line in lines if line["interval"] >= warm]
    intervals = np.array([line["interval"] for line in since], dtype=np.float64)
    disk = {
        name: float(np.polyfit(intervals, [line["disk"][name] for line in since], 1)[0]) / 1e3
        if len(np.unique(intervals)) > 1
        else 0.0
        for name in lines[0]["disk"]
    }
    return Soaked(int(last), parts, disk)
