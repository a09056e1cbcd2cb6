"""One measured run in a process of its own: ``python -m simulations.benchmarks.scale.worker DIR``.

DIR/config.yaml holds the settings. What was measured goes to DIR/measured.json.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

from common.config import load
from simulations.benchmarks.scale.measured import FOLDER, MeasuredBlock
from simulations.benchmarks.scale.parts import install

MEASURED = "measured.json"


def main(directory: Path) -> None:
    """Run, summarise, report; write down how long each took and what the CPU did."""
    begin = time.monotonic()
    settings = load(str(directory / "config.yaml"))
    parts = install()
    from simulations.engine.local_ray import import_ray
    from simulations.report import write_report
    from simulations.simulate import simulate
    from simulations.summary import summarise

    import_ray(private=settings.run.ray_address is None)
    if settings.fl.enabled:
        importlib.import_module("fl_server.initial")
    parts.started()
    started = time.monotonic()
    simulate(settings, directory, block=MeasuredBlock)
    simulated = time.monotonic()
    cpu = {"server": parts.totals()}
    summarise(directory, settings, simulated - begin)
    summarised = time.monotonic()
    write_report(directory)
    reported = time.monotonic()
    for i, file in enumerate(sorted((directory / FOLDER).glob("*.json"))):
        cpu[f"actor {i}"] = json.loads(file.read_text())
    seconds = {
        "start": started - begin,
        "simulate": simulated - started,
        "summary": summarised - simulated,
        "report": reported - summarised,
    }
    (directory / MEASURED).write_text(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main(Path(sys.argv[1]))
