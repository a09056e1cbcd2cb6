"""One part of a comparison in a process of its own: ``python -m ...worker DIR PART ROUNDS CORES``.

PART is ``prepare``, which makes the task in DIR of DIR/given.yaml, or a way to carry it. What was
measured goes to DIR/PART.json, the last model to DIR/PART.npz.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil

from common.config import load
from simulations.benchmarks.scale.peers.task import RoundClock, prepare, save_weights
from simulations.benchmarks.scale.peers.ways import WAYS

GIVEN, PREPARE = "given.yaml", "prepare"


def main(directory: Path, part: str, rounds: int, cores: int) -> None:
    """Do the part on the first ``cores`` cores that this process may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if part == PREPARE:
        prepare(load(str(directory / GIVEN)), directory / "task")
        return
    clock = RoundClock()
    model = WAYS[part].load()(directory / "task", rounds, cores, clock)
    whole = time.time() - psutil.Process().create_time()
    save_weights(directory / f"{part}.npz", model)
    save_weights(directory / f"{part}.first.npz", clock.first)
    found = {"whole_s": whole, "rounds": [asdict(one) for one in clock.rounds]}
    (directory / f"{part}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
