"""What a community of commanded batteries has paid, beside a simulation of what its meters counted.

``out`` is the community's folder: ``server``, ``homes`` with the data that the houses were made of,
and a folder of each home's own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.cadence import HALF_HOUR
from common.config import load
from common.data.frame import APPLIANCES
from common.data.store import read_household, write_household
from common.market_rules import MICRO
from fl_client.home.arrivals import Arrivals
from fl_server.host.folder import Folder, Live
from fl_server.ledger import COMMUNITY, Ledger
from simulations.simulate import simulate
from simulations.summary import case_of, summarise


def measured(
    out: Path, names: Sequence[str], start: pd.Timestamp, intervals: int, into: Path
) -> dict[str, list[float]]:
    """Write what registers have counted, the battery left out, in place of the data that the houses
    were made of. Returns each home's state of charge at the first half hour and after the last."""
    soc = {}
    for name in names:
        made = read_household(out / "homes" / f"{name}.parquet")
        frame, arrivals = made.frame.copy(), Arrivals(out / name, commanded=True)
        first, last = arrivals.span() or (0, -1)
        count = (int(start.timestamp()) - first) // 1800 + intervals
        assert last >= start.timestamp() + 1800 * (intervals - 1), name
        rows = arrivals.rows(first, count)
        # A half hour or two before the run, while the meters came up, are as they were made.
        told = np.isfinite(rows.load)
        assert told[-intervals:].all(), name
        place = frame.index.get_loc(pd.Timestamp(first, unit="s", tz="UTC"))
        known = frame.index[place : place + count][told]
        frame.loc[known, list(APPLIANCES)] = 0.0
        frame.loc[known, APPLIANCES[0]] = rows.load[told]
        frame.loc[known, "pv"] = rows.pv[told]
        write_household(replace(made, frame=frame), into)
        soc[name] = [arrivals.soc((start + t * HALF_HOUR.step).timestamp()) for t in (0, intervals)]
    return soc


def share_of_optimum(
    out: Path, work: Path, batteries: Mapping[str, Mapping[str, Any]], intervals: int
) -> tuple[float, float]:
    """Of what perfect foresight saves: the living community's share, and that of a simulation on
    what its meters have counted, with its batteries as full at the beginning. ``batteries``: each
    home's settings, by name. The simulation is in ``work / "run"``."""
    folder, names = Folder(out / "server"), list(batteries)
    begun = Live.read(folder.live)
    assert begun is not None
    start = pd.Timestamp(begun.start)
    soc = measured(out, names, start, intervals, work / "homes")
    homes = {}
    for name, own in batteries.items():
        # A battery that drove itself before may be a little below what the plan keeps to.
        begins = min(max(soc[name][0], own["soc_min"]), own["soc_max"])
        homes[name] = {"battery": {**own, "soc_initial": begins}}
    base = folder.settings(len(names)).model_dump(mode="json")
    base["data"]["source"], base["homes"] = str(work / "homes"), homes
    base["run"] |= {
        "engine": "loop", "days": intervals / 48, "references": "all",
        "start": start.tz_convert("Europe/London").date().isoformat(),
    }  # fmt: skip
    settings = load(None, (), **base)
    (work / "run").mkdir()
    simulate(settings, work / "run")
    summary = summarise(work / "run", settings, 0.0)
    cost = summary["cost"]
    reports = json.loads((work / "run" / "reports.json").read_text())
    assert pd.Timestamp(reports["start"]) == start
    case, _ = case_of(settings, names, reports["tariffs"])
    with Ledger(f"sqlite:///{folder.run / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        assert ledger.verify().ok
        paid = np.zeros(len(names))
        for row in ledger.rows():
            if row.interval < intervals and row.account >= len(COMMUNITY):
                paid[row.account - len(COMMUNITY)] += row.money_out_micro - row.money_in_micro
    left = np.array([soc[name][1] for name in names]) * case.battery.capacity_kwh
    costs = paid / MICRO - case.end_value.value(left)
    saved = cost["no_battery_no_trade"] - cost["community_optimum"]
    print(dict(zip(names, costs.round(3), strict=True)), cost)
    return (cost["no_battery_no_trade"] - costs.sum()) / saved, cost["share_of_optimum"]
