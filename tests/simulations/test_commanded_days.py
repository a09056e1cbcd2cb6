"""A community whose batteries obey, with all its processes, beside a simulation of its readings.

FEDWATT_COMMANDED_INTERVALS=96 are two emulated days: 50 minutes at 60 times the clock, where a
command that takes a second comes a minute late; FEDWATT_COMMANDED_SPEED=10 takes five hours.
"""

import json
import os
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pandas as pd
import pytest
import yaml

from common.data.synthetic import names
from common.processes import environment
from fl_client.control.settings import CONTROL
from simulations import community
from simulations.community import LINK, Ports, admit, commands, prepare
from simulations.processes import free_ports, service
from tests.support.broker import MOSQUITTO
from tests.support.commanded_days import share_of_optimum

HOMES, LEAD_S = 4, 150.0
SPEED = int(os.environ.get("FEDWATT_COMMANDED_SPEED", "60"))
INTERVALS = int(os.environ.get("FEDWATT_COMMANDED_INTERVALS", "0"))
NAMES = names(HOMES)


def live(out: Path) -> None:
    """Let the community live, from a midnight on, until so many intervals are settled by all."""
    pages, *_ = free_ports(HOMES + 1)
    prepare(out, HOMES, SPEED, LEAD_S, Ports.free(pages, HOMES))
    for name in NAMES:
        control = yaml.safe_load((out / name / CONTROL).read_text())
        (out / name / CONTROL).write_text(yaml.safe_dump(control | {"mode": "command"}))
    made = commands(out, HOMES)
    server = made.pop("run")

    def start(name: str, command: list[str]) -> AbstractContextManager[object]:
        return service(command, environment(out / "flwr"), out / "log" / f"{name}.txt")

    with ExitStack() as stack:
        for name, command in made.items():
            stack.enter_context(start(name, command))
            if name == LINK:
                admit(out, HOMES)
        stack.enter_context(start("run", server))
        status = out / "server" / "run" / "status.json"
        end = time.monotonic() + LEAD_S + 1.5 * (INTERVALS + 4) * 1800 / SPEED
        while not status.exists() or json.loads(status.read_text())["interval"] < INTERVALS + 3:
            assert time.monotonic() < end
            time.sleep(2)


@pytest.mark.skipif(not INTERVALS, reason="takes an hour: FEDWATT_COMMANDED_INTERVALS=96")
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_commanded_batteries_earn_what_simulated_ones_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two emulated days without learning, whose rounds would not end in time at this speed: the
    share of the optimum is within two points of the simulation's."""
    kept = tuple(one for one in community._SETTINGS if not one.startswith("fl."))
    monkeypatch.setattr(community, "_SETTINGS", (*kept, "fl.enabled=false"))
    monkeypatch.setattr(community, "_BEGINS_AT", pd.Timedelta(0))
    out = tmp_path / "community"
    live(out)
    batteries = {
        name: yaml.safe_load((out / name / "settings.yaml").read_text())["battery"]
        for name in NAMES
    }
    commanded, computed = share_of_optimum(out, tmp_path, batteries, INTERVALS)
    print(
        f"{INTERVALS} half hours: commanded {commanded:.2%} of the optimum, computed {computed:.2%}"
    )
    assert commanded >= computed - 0.02
