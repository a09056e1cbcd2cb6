"""Measure runs one after the other, each in its own processes, and fit how time grows."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from common.config import Settings, dump
from common.errors import InputError
from fl_server.run_files import INTERVALS, ROUNDS, read_lines
from simulations.benchmarks.scale.parts import DECISIONS
from simulations.benchmarks.scale.worker import MEASURED

_SAMPLE_S = 0.5
# Counting shared pages walks the page tables: watching takes at most this share of one core.
_WATCHING = 0.03
# The first market rounds compile and fill caches.
_WARM_UP = 2


@dataclass(frozen=True)
class Measured:
    """One run. Times in seconds, memory in MB.

    ``round_ms``: market rounds' median and 95th percentile after the first two. ``model_round_s``:
    median, None without learning. ``outside_training_s``: seconds of a model round, on average,
    beyond what the busiest process trains: messages, aggregation, keeping and measuring the new
    model. ``cpu``: seconds by part over all processes; None for Flower's
    engine, whose processes cannot be asked. ``cpu_total_s``: of all processes, Ray's included.
    ``peak_mb``: of the process tree, shared pages counted once. ``server_mb``: the server
    process's own peak, pages it shares with others left out.
    """

    engine: str
    households: int
    intervals: int
    wall_s: dict[str, float]
    round_ms: tuple[float, float]
    model_round_s: float | None
    outside_training_s: float | None
    cpu: dict[str, float] | None
    cpu_total_s: float
    peak_mb: float
    server_mb: float

    @property
    def intervals_per_s(self) -> float:
        """Market rounds per second, model rounds and set-up left out."""
        return 1e3 / self.round_ms[0]

    @property
    def decision_ms(self) -> dict[str, float] | None:
        """CPU time of deciding [ms per household and interval] by part, over all processes. A
        household decides twice where the run keeps a shadow without a market.
        """
        if self.cpu is None:
            return None
        decisions = self.households * self.intervals
        return {name: 1e3 * self.cpu[name] / decisions for name in DECISIONS}

    @property
    def engine_share(self) -> float | None:
        """Share of the CPU time that carries messages instead of doing work; start-up left out."""
        if self.cpu is None:
            return None
        spent = sum(self.cpu.values()) - self.cpu["start-up"]
        return self.cpu["engine"] / spent if spent > 0 else None


def measure(settings: Settings, directory: Path) -> Measured:
    """Run ``settings`` in processes of their own. Raises InputError where the run fails."""
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(dump(settings))
    command = [sys.executable, "-m", "simulations.benchmarks.scale.worker", str(directory)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    environment.setdefault("OMP_NUM_THREADS", "1")
    with (directory / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        peak, server, cpu = _watch(process)
    if process.returncode:
        tail = (directory / "log.txt").read_text().strip().splitlines()[-1:]
        raise InputError(f"{directory}: the run failed: {' '.join(tail)}")
    found = json.loads((directory / MEASURED).read_text())
    lines, rounds = read_lines(directory / INTERVALS), read_lines(directory / ROUNDS)
    times = [float(line["interval_ms"]) for line in lines[_WARM_UP:] or lines]  # type: ignore[arg-type]
    seconds = [float(line["seconds"]) for line in rounds]  # type: ignore[arg-type]
    parts: dict[str, float] | None = None
    outside: float | None = None
    if settings.run.engine != "flower":
        parts = {}
        for one in found["cpu"].values():
            for name, value in one.items():
                parts[name] = parts.get(name, 0.0) + value
        if seconds:
            busiest = max(one["training"] for one in found["cpu"].values())
            outside = (sum(seconds) - busiest) / len(seconds)
    return Measured(
        engine=settings.run.engine,
        households=settings.run.households,
        intervals=settings.intervals,
        wall_s=found["seconds"],
        round_ms=(float(np.median(times)), float(np.quantile(times, 0.95))),
        model_round_s=float(np.median(seconds)) if seconds else None,
        outside_training_s=outside,
        cpu=parts,
        cpu_total_s=cpu,
        peak_mb=peak,
        server_mb=server,
    )


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, float, float]:
    """(Peak MB of the tree, peak MB of its root alone, CPU seconds of the tree) until it ends."""
    root = psutil.Process(process.pid)
    peak = own = 0.0
    cpu: dict[int, float] = {}
    while process.poll() is None:
        total, begin = 0.0, time.perf_counter()
        for one in [root, *_children(root)]:
            try:
                memory, times = one.memory_full_info(), one.cpu_times()
            except psutil.Error:
                continue
            total += memory.pss
            cpu[one.pid] = times.user + times.system
            if one.pid == root.pid:
                own = max(own, memory.uss)
        peak = max(peak, total)
        time.sleep(max(_SAMPLE_S, (time.perf_counter() - begin) / _WATCHING))
    return peak / 1e6, own / 1e6, sum(cpu.values())


def _children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.Error:
        return []


def growth(rows: Sequence[Measured], least: int) -> float | None:
    """Exponent k of round time ~ households^k, least squares over rows of ``least`` and more."""
    points = [(row.households, row.round_ms[0]) for row in rows if row.households >= least]
    if len({n for n, _ in points}) < 2:
        return None
    n, ms = np.log(np.array(points)).T
    return float(np.polyfit(n, ms, 1)[0])


def as_json(rows: Sequence[Measured]) -> list[dict[str, object]]:
    """Rows as plain values, with what follows from them."""
    return [
        {
            **asdict(row),
            "intervals_per_s": row.intervals_per_s,
            "engine_share": row.engine_share,
            "decision_ms": row.decision_ms,
        }
        for row in rows
    ]
