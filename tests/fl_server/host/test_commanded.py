"""Homes whose battery the plan commands, and homes where it only would: what they trade and owe."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from flwr.app import Message

from common.data.store import read_household
from common.energy.battery import BatterySpec, step
from common.energy.connection import ConnectionSpec
from common.errors import InputError
from fl_client.control.plans import Plans
from fl_client.control.steering import read_steering
from fl_client.home.store import OWN, Reading, Store
from fl_client.membership import membership
from fl_client.state import State
from fl_client.trader import make_trader
from fl_client.trader.base import Actual
from tests.support.community import NODE, Homes, community, contexts, run, simulated
from tests.support.live import INTERVALS, MARKET_ONLY, NAMES, rows, traded

REGISTERS = ("import", "export", "pv", "charge", "discharge")
CONTROL = {
    "mode": "command", "adapter": "mqtt", "setpoint": {"topic": "p"},
    "hand_back": {"topic": "m", "value": "auto"},
    "readback": {"power": {"topic": "b"}},
}  # fmt: skip


class Batteries:
    """Meters of homes with a battery. It does what its plan's recourse says, to the last bit, or,
    left to itself, serves its own house."""

    def __init__(self, root: Path, homes: Path, start: pd.Timestamp, mode: str) -> None:
        self.root, self.start, self.mode = root, int(start.timestamp()), mode
        self.soc = dict.fromkeys(NAMES, 0.45)
        self.seen: dict[tuple[str, int], float] = {}
        self._net, self._pv, self._stores = {}, {}, {}
        for name in NAMES:
            data = read_household(homes / f"{name}.parquet")
            pv = data.frame["pv"].to_numpy()
            first = int(data.frame.index[0].timestamp())
            self._net[name], self._pv[name] = (first, data.consumption - pv), pv
            folder = root / name
            folder.mkdir(exist_ok=True)
            entries = [{"role": role, "path": "none.csv", "json": role} for role in REGISTERS]
            entries.append({"role": "soc", "path": "none.csv", "json": "soc"})
            (folder / "meters.yaml").write_text(yaml.safe_dump(entries))
            (folder / "control.yaml").write_text(yaml.safe_dump(CONTROL | {"mode": mode}))
            store = Store(folder / "meters.sqlite", write=True)
            store._db.execute("PRAGMA synchronous = OFF")
            self._stores[name] = store
            for at in range(first, self.start, 1800):
                self._tell(name, at, 0.0)

    def _tell(self, name: str, at: int, moved_kwh: float) -> None:
        first, net = self._net[name]
        row = (at - first) // 1800
        flow = net[row] + moved_kwh
        told = (max(flow, 0.0), max(-flow, 0.0), self._pv[name][row], max(moved_kwh, 0.0),
                max(-moved_kwh, 0.0))  # fmt: skip
        end = at + 1800.0
        for role, kwh in zip(REGISTERS, told, strict=True):
            line = [(at, float(kwh), "measured")]
            self._stores[name].put_intervals(role, 30, line, end, "corrected")
        channel = f"soc {self.root / name / 'none.csv'} soc"
        self._stores[name].put([Reading(channel, end, end, self.soc[name], OWN)])

    def live(self, name: str, t: int) -> None:
        """The interval before ``t`` is over."""
        s = t - 1
        if s < 0 or (name, s) in self.seen:
            return
        at, folder = self.start + 1800 * s, self.root / name / "state"
        first, net = self._net[name]
        here = float(net[(at - first) // 1800])
        plan, fill = Plans(folder).now()
        assert plan.t == s
        assert plan.start == at
        battery = BatterySpec(**plan.battery)
        actual = Actual(
            np.array([self.soc[name]]), np.array([here]), np.array([fill.bought]),
            np.array([fill.sold]), plan.retail, plan.feed_in, battery,
            ConnectionSpec(**plan.connection), shortfall=plan.shortfall, unused=plan.unused,
        )  # fmt: skip
        if self.mode == "command":
            wish = make_trader(plan.trader, plan.options).dispatch(np.array([plan.plan]), actual)
        else:
            wish = np.array([-here])
        moved = step(battery, actual.soc, wish)
        self.soc[name] = float(moved.soc[0])
        self.seen[name, s] = float(moved.charge_kwh[0] - moved.discharge_kwh[0])
        self._tell(name, at, self.seen[name, s])


def _live(tmp_path, homes, mode, *override, hour=10):
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY, *override, hour=hour)
    start = pd.Timestamp(yaml.safe_load(folder.live.read_text())["start"])
    batteries = Batteries(tmp_path, homes, start, mode)
    nodes = contexts(tmp_path, homes, NAMES, folder)
    for context in nodes.values():
        context.node_config["data"] = "meters"

    def arrive(message: Message) -> bool:
        group = message.metadata.group_id.partition("-")[0]
        if group.isdigit():
            batteries.live(NAMES[message.metadata.dst_node_id - NODE], int(group))
        return False

    run(folder, Homes(nodes, arrive))
    return folder, batteries, nodes


def test_a_battery_that_obeys_is_settled_as_in_a_simulation(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Charge, discharge and state of charge come from the meters alone; where they say what the
    recourse says, the ledger is that of simulate: the same trades, meters and money, to the whole
    mWh that a register's floating point may round otherwise."""
    monkeypatch.setenv("TZ", "Europe/London")
    folder, batteries, _ = _live(
        tmp_path, homes, "command", "trader.options={scenarios: days}", "run.days=0.75", hour=0
    )
    out = simulated(homes, tmp_path / "simulated", folder, len(NAMES))
    assert traded(folder.run)
    assert sum(map(abs, batteries.seen.values())) > 1.0
    mine, theirs = (np.array(rows(place), dtype=object) for place in (folder.run, out))
    assert mine.shape == theirs.shape
    far = [
        (a, b) for a, b in zip(mine.ravel(), theirs.ravel(), strict=True)
        if a != b and not abs(a - b) <= 2
    ]  # fmt: skip
    assert far == []
    for name in NAMES:
        state = State(tmp_path / name / "state", durable=True)
        log = {row[0]: dict(zip(("charge", "discharge", "soc"), (row[5], row[6], row[13]),
                                strict=True)) for row in state.rows()}  # fmt: skip
        state.close()
        for (who, s), kwh in batteries.seen.items():
            if who == name and s < 35:
                assert log[s]["charge"] - log[s]["discharge"] == pytest.approx(kwh, abs=1e-12)


def test_in_shadow_mode_it_trades_as_it_is(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A battery that serves its own house, unasked: the home's load is what its connection sees,
    and no battery is in its books; what it would do is handed over all the same, for the real
    battery and the house behind it."""
    monkeypatch.setenv("TZ", "Europe/London")
    _, batteries, nodes = _live(tmp_path, homes, "shadow")
    for name in NAMES:
        steering = read_steering(tmp_path / name / "state")
        assert steering is not None
        assert steering.t == INTERVALS - 1
        assert steering.battery["capacity_kwh"] == 13.5
        assert np.isfinite(steering.plan).all()
        first, net = batteries._net[name]
        now = (int(steering.start) - first) // 1800
        usual = np.mean([net[now - 48 * day] for day in range(1, 8)]) * 2
        assert steering.usual_kw == pytest.approx(usual, abs=1e-9)
        member = membership(nodes[NODE + NAMES.index(name)])
        assert member.settings.battery.capacity_kwh == 0
        state = State(tmp_path / name / "state", durable=True)
        log = state.rows()
        quiet = {row[0]: (row[5], row[6]) for row in log}
        loads = {row[0]: (row[3], row[4]) for row in log}
        state.close()
        logged = {s: load - pv for s, (load, pv) in loads.items()}
        assert all(quiet[s] == (0.0, 0.0) for s in range(INTERVALS - 1))
        for s in range(INTERVALS - 1):
            seen = net[(batteries.start + 1800 * s - first) // 1800] + batteries.seen[name, s]
            assert logged[s] == pytest.approx(seen, abs=1e-9)


def test_what_a_steered_battery_needs_is_asked_for(homes: Path, tmp_path: Path) -> None:
    """One line: no counters of the battery, or no battery in settings.yaml."""
    folder = community(tmp_path / "server", homes, NAMES, *MARKET_ONLY)
    nodes = contexts(tmp_path, homes, NAMES, folder)
    context = nodes[NODE]
    context.node_config["data"] = "meters"
    home = tmp_path / NAMES[0]
    home.mkdir(exist_ok=True)
    entries = [{"role": "import", "topic": "x"}]
    (home / "meters.yaml").write_text(json.dumps(entries))
    (home / "control.yaml").write_text(json.dumps(CONTROL))
    with pytest.raises(InputError, match=r"meters\.yaml: no charge"):
        membership(context)
    entries += [{"role": role, "topic": role} for role in ("charge", "discharge", "soc")]
    (home / "meters.yaml").write_text(json.dumps(entries))
    assert membership(context).steered.commanded
    (home / "settings.yaml").write_text("battery: {capacity_kwh: 0}\n")
    with pytest.raises(InputError, match="this household has no battery"):
        membership(context)
