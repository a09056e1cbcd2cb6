"""A community of homes whose batteries their controllers steer second by second, in simulated time.

The coordinator and the ClientApps are the real ones, the controllers too; whoever waits for a
message waits in simulated time. A plan is seen ``PLAN_S`` after its interval has begun, and what
was traded with it ``FILLS_S`` after: as late as on a healthy network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from flwr.app import Message

from common.data.frame import APPLIANCES, COLUMNS, IDLE_BATTERY, Household
from common.data.store import write_household
from common.data.synthetic import names
from fl_client.control.controller import Controller
from fl_client.control.plans import Plans
from fl_client.control.record import STEERING, Record
from fl_client.control.recourse import Fill
from fl_client.control.settings import Control
from fl_client.control.steering import Steering
from fl_client.home.mapping import read_mapping
from fl_client.home.store import OWN, Reading, Store
from fl_server.host.folder import Folder
from tests.support.battery_home import (
    BEGIN,
    BLOCK_S,
    BatteryHome,
    HomeAdapter,
    HomeSight,
    Inverter,
    flows,
    halves,
)
from tests.support.community import NODE, Homes, community, contexts, run
from tests.support.steered import INTERVAL, tariff

PLAN_S, FILLS_S = 10, 15
HISTORY_DAYS, AFTER_DAYS = 28, 2
COUNTED = ("import", "export", "charge", "discharge")
_METERS = (*COUNTED, "pv", "soc")
# What the ClientApp reads of it: that the plan commands. The lines to the battery are this file's.
_CONTROL = {
    "mode": "command", "adapter": "mqtt", "setpoint": {"topic": "p"},
    "hand_back": {"topic": "m", "value": "auto"}, "readback": {"power": {"topic": "b"}},
}  # fmt: skip


class ComingPlans:
    """``Plans`` of an interval that is lived when all its messages have been, each in its time."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._before: tuple[Steering, Fill] | None = None
        self._newest: tuple[Steering, Fill] | None = None

    def take(self) -> Steering:
        """The next interval is to be lived; returns its plan."""
        self._before, self._newest = self._newest, self._plans.now()
        assert self._newest is not None
        return self._newest[0]

    def at(self, now: float) -> tuple[Steering, Fill] | None:
        """What is there at ``now``."""
        assert self._newest is not None
        steering, fill = self._newest
        since_s = now - steering.start
        if since_s < PLAN_S:
            return self._before
        return steering, fill if since_s >= FILLS_S else Fill()


@dataclass
class Registers:
    """Energy [kWh] of one half hour, each second counted by itself. ``alone``: import and export as
    they would be without a battery."""

    flow: np.ndarray  # import, export
    battery: np.ndarray  # charge, discharge
    alone: np.ndarray


class SteeredHome:
    """One home: its house and battery, its controller, and what its meters tell its ClientApp.

    load, pv: (n,) [kW] of every ten seconds, from ``HISTORY_DAYS`` before ``BEGIN`` on. start: of
    the run. netted: the meter's registers run one way within a half hour.
    """

    def __init__(
        self,
        folder: Path,
        load,
        pv,
        start: int,
        control: Control,
        spec: Inverter,
        *,
        netted: bool,
        every: int,
    ) -> None:
        self.start, self._netted = start, netted
        past = HISTORY_DAYS * 86400 // BLOCK_S
        self.home = BatteryHome(load[past:], pv[past:], spec, every)
        self.home.now = float(start)
        self.home._speak()
        folder.mkdir(exist_ok=True)
        lines = [{"role": role, "path": "none.csv", "json": role} for role in _METERS]
        (folder / "meters.yaml").write_text(yaml.safe_dump(lines))
        (folder / "control.yaml").write_text(yaml.safe_dump(_CONTROL))
        mapped = read_mapping(folder / "meters.yaml")
        self._level = next(one.name for one in mapped if one.role == "soc")
        self._store = Store(folder / "meters.sqlite", write=True)
        self._store._db.execute("PRAGMA synchronous = OFF")
        self.half_pv = halves(pv)
        self._first = BEGIN - HISTORY_DAYS * 86400
        self._remember(halves(load) - self.half_pv)
        self._plans = ComingPlans(Plans(folder / "state"))
        self.controller = Controller(
            control, HomeAdapter(self.home), HomeSight(self.home), Record(folder),
            lambda: self._plans.at(self.home.now),
        )  # fmt: skip
        self.registers: list[Registers] = []
        self.commanded_s = 0
        # The lowest and highest state of charge, and most power, since it was commanded first.
        self.lowest, self.highest, self.strongest_kw = 1.0, 0.0, 0.0

    def _remember(self, net) -> None:
        """The past: a battery at rest."""
        count = (self.start - self._first) // INTERVAL
        times, nothing = self._first + INTERVAL * np.arange(count), np.zeros(count)
        told = (np.maximum(net[:count], 0), np.maximum(-net[:count], 0), nothing, nothing,
                self.half_pv[:count])  # fmt: skip
        self._tell(times, told)

    def _tell(self, times, told) -> None:
        end = float(times[-1] + INTERVAL)
        for role, kwh in zip(_METERS[:-1], told, strict=True):
            rows = [(int(at), float(one), "measured") for at, one in zip(times, kwh, strict=True)]
            self._store.put_intervals(role, 30, rows, end, "corrected")
        self._store.put([Reading(self._level, end, end, self.home.level[0], OWN)])

    def live(self, t: int) -> None:
        """Live through interval ``t``, and tell what the meters have counted."""
        home, at = self.home, self.start + INTERVAL * t
        assert home.now == at
        plan = self._plans.take()
        assert (plan.t, plan.start) == (t, at)
        flow, battery, alone = np.zeros(2), np.zeros(2), np.zeros(2)
        state = ""
        for _ in range(INTERVAL):
            home.tick()
            powers = home.grid_kw, home.battery_kw, home.net_kw
            for sums, kw in zip((flow, battery, alone), powers, strict=True):
                sums[0 if kw > 0 else 1] += abs(kw) / 3600
            if home.now % home.every == 1:
                state = self.controller.step(home.now).state
            self.commanded_s += state == STEERING
            if self.commanded_s:
                self.lowest = min(self.lowest, home.soc)
                self.highest = max(self.highest, home.soc)
                self.strongest_kw = max(self.strongest_kw, abs(home.battery_kw))
        self.registers.append(Registers(flow, battery, alone))
        row = (at - self._first) // INTERVAL
        self._tell([at], [[one] for one in (*self.counted(t), *battery, self.half_pv[row])])

    def counted(self, t: int) -> np.ndarray:
        """(2,) import and export [kWh] of interval ``t`` as the meter's registers say."""
        flow = self.registers[t].flow
        return np.maximum(flow - flow[::-1], 0) if self._netted else flow


@dataclass
class SteeredDays:
    """A community that has lived: the coordinator's folder, its homes by name, and the settings of
    each one's battery."""

    folder: Folder
    homes: dict[str, SteeredHome]
    battery: dict[str, float]


def steered_days(
    root: Path, sunny: Sequence[bool], intervals: int, control: Control, *, netted: bool,
    hour: int = 0, spec: Inverter | None = None, every: int = 10,
) -> SteeredDays:  # fmt: skip
    """Let a community live ``intervals`` half hours from ``hour`` on, steered by ``control``; a
    home for each of ``sunny``, with PV or without. ``netted``, ``every``: see ``SteeredHome``."""
    who, start = names(len(sunny)), BEGIN + 3600 * hour
    made = {
        name: flows(60 + number, HISTORY_DAYS + -(-intervals // 48) + AFTER_DAYS, sunny=sun)
        for number, (name, sun) in enumerate(zip(who, sunny, strict=True))
    }
    for name, (load, pv) in made.items():
        write_household(_data(name, halves(load), halves(pv)), root / "homes")
    # Without learning: a plan comes from the home's own past alone.
    settings = (f"run.days={intervals / 48}", f"run.history_days={HISTORY_DAYS}",
                "run.shadow=false", "fl.enabled=false")  # fmt: skip
    folder = community(root / "server", root / "homes", who, *settings, hour=hour)
    spec = spec or Inverter()
    own = folder.settings(len(who)).home(who[0]).battery_spec
    assert (own.capacity_kwh, own.power_kw, own.round_trip_efficiency) == (
        spec.capacity_kwh, spec.power_kw, spec.round_trip,
    )  # fmt: skip
    assert spec.soc_min <= own.soc_min < own.soc_max <= spec.soc_max
    homes = {
        name: SteeredHome(root / name, load, pv, start, control, spec, netted=netted, every=every)
        for name, (load, pv) in made.items()
    }
    nodes = contexts(root, root / "homes", who, folder)
    for context in nodes.values():
        context.node_config["data"] = "meters"

    def arrive(message: Message) -> bool:
        """What arrives of interval t finds the one before lived; the market's message is first."""
        group = message.metadata.group_id.partition("-")[0]
        home = homes[who[message.metadata.dst_node_id - NODE]]
        if group.isdigit() and len(home.registers) < int(group):
            home.live(int(group) - 1)
        return False

    run(folder, Homes(nodes, arrive))
    return SteeredDays(folder, homes, folder.settings(len(who)).battery.model_dump())


def _data(name: str, load: np.ndarray, pv: np.ndarray) -> Household:
    """The home's half hours as data, with the prices of ``tariff``."""
    first = pd.Timestamp(BEGIN - HISTORY_DAYS * 86400, unit="s", tz="UTC")
    index = pd.date_range(first, periods=len(load), freq="30min")
    frame = pd.DataFrame(0.0, index=index, columns=list(COLUMNS)).assign(**IDLE_BATTERY)
    frame[APPLIANCES[0]], frame["pv"], frame["price"] = load, pv, tariff(np.arange(len(load)))
    return Household(name, frame, "Europe/London", source="flows of every ten seconds", real=False)
