"""A community whose batteries obey, with all its processes, beside a simulation of its readings.

FEDWATT_COMMANDED_INTERVALS=96 are two emulated days: 50 minutes at 60 times the clock, where a
command that takes a second comes a minute late; FEDWATT_COMMANDED_SPEED=10 takes five hours.
"""

import json
import os
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from common.cadence import HALF_HOUR
from common.config import load
from common.data.frame import APPLIANCES
from common.data.store import read_household, write_household
from common.data.synthetic import names
from common.market_rules import MICRO
from common.processes import environment
from fl_client.control.settings import CONTROL
from fl_client.home.arrivals import Arrivals
from fl_server.host.folder import Folder, Live
from fl_server.ledger import COMMUNITY, Ledger
from simulations import community
from simulations.community import LINK, Ports, admit, commands, prepare
from simulations.processes import free_ports, service
from simulations.simulate import simulate
from simulations.summary import case_of, summarise
from tests.support.broker import MOSQUITTO

HOMES, LEAD_S, _HISTORY_DAYS = 4, 150.0, 28
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


def measured(out: Path, start: pd.Timestamp, into: Path) -> dict[str, list[float]]:
    """Write what registers have counted, the battery left out, in place of the data that the houses
    were made of. Returns each home's state of charge at the first half hour and after the last."""
    soc = {}
    for name in NAMES:
        made = read_household(out / "homes" / f"{name}.parquet")
        frame, arrivals = made.frame.copy(), Arrivals(out / name, commanded=True)
        first, last = arrivals.span() or (0, -1)
        count = (int(start.timestamp()) - first) // 1800 + INTERVALS
        assert last >= start.timestamp() + 1800 * (INTERVALS - 1), name
        rows = arrivals.rows(first, count)
        # A half hour or two before the run, while the meters came up, are as they were made.
        told = np.isfinite(rows.load)
        assert told[-INTERVALS:].all(), name
        place = frame.index.get_loc(pd.Timestamp(first, unit="s", tz="UTC"))
        known = frame.index[place : place + count][told]
        frame.loc[known, list(APPLIANCES)] = 0.0
        frame.loc[known, APPLIANCES[0]] = rows.load[told]
        frame.loc[known, "pv"] = rows.pv[told]
        write_household(replace(made, frame=frame), into)
        soc[name] = [arrivals.soc((start + t * HALF_HOUR.step).timestamp()) for t in (0, INTERVALS)]
    return soc


def share_of_optimum(out: Path, work: Path) -> tuple[float, float]:
    """Of what perfect foresight saves: the living community's share, and that of a simulation on
    what its meters have counted, with its batteries as full at the beginning."""
    folder = Folder(out / "server")
    begun = Live.read(folder.live)
    assert begun is not None
    start = pd.Timestamp(begun.start)
    soc = measured(out, start, work / "homes")
    homes = {}
    for name in NAMES:
        own = yaml.safe_load((out / name / "settings.yaml").read_text())["battery"]
        # A battery that drove itself before may be a little below what the plan keeps to.
        begins = min(max(soc[name][0], own["soc_min"]), own["soc_max"])
        homes[name] = {"battery": {**own, "soc_initial": begins}}
    base = folder.settings(HOMES).model_dump(mode="json")
    base["data"]["source"], base["homes"] = str(work / "homes"), homes
    base["run"] |= {
        "engine": "loop", "days": INTERVALS / 48, "references": "all",
        "start": start.tz_convert("Europe/London").date().isoformat(),
    }  # fmt: skip
    settings = load(None, (), **base)
    (work / "run").mkdir()
    simulate(settings, work / "run")
    summary = summarise(work / "run", settings, 0.0)
    cost = summary["cost"]
    reports = json.loads((work / "run" / "reports.json").read_text())
    assert pd.Timestamp(reports["start"]) == start
    case, _ = case_of(settings, list(NAMES), reports["tariffs"])
    with Ledger(f"sqlite:///{folder.run / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        assert ledger.verify().ok
        paid = np.zeros(HOMES)
        for row in ledger.rows():
            if row.interval < INTERVALS and row.account >= len(COMMUNITY):
                paid[row.account - len(COMMUNITY)] += row.money_out_micro - row.money_in_micro
    left = np.array([soc[name][1] for name in NAMES]) * case.battery.capacity_kwh
    costs = paid / MICRO - case.end_value.value(left)
    saved = cost["no_battery_no_trade"] - cost["community_optimum"]
    print(dict(zip(NAMES, costs.round(3), strict=True)), cost)
    return (cost["no_battery_no_trade"] - costs.sum()) / saved, cost["share_of_optimum"]


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
    live(tmp_path / "community")
    commanded, computed = share_of_optimum(tmp_path / "community", tmp_path)
    print(
        f"{INTERVALS} half hours: commanded {commanded:.2%} of the optimum, computed {computed:.2%}"
    )
    assert commanded >= computed - 0.02
