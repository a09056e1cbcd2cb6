"""A home with a battery that may be commanded, second by second, and everything that can go wrong.

Loads and PV change every ten seconds, of a seed. The inverter: a deadtime, a ramp, limits of its
own, a watchdog, and self-consumption whenever nobody commands it. The truth is kept; meters and
battery speak every ``every`` seconds, in whole Wh, watts and per cent. Charging is positive.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from fl_client.control.sight import Seen

BEGIN = 1_795_651_200  # midnight, UTC
BLOCK_S = 10


def flows(seed, days, *, sunny=True):
    """(n,) load and PV [kW] of every ten seconds: a base that wanders, appliances that switch (a
    kettle of 2 kW for three minutes, an oven that cycles, a washing machine), clouds that pass."""
    draw = np.random.default_rng(seed)
    count = days * 86400 // BLOCK_S
    hour = np.arange(count) * BLOCK_S / 3600 % 24
    load = 0.15 + 0.1 * np.exp(0.5 * np.repeat(draw.normal(size=count // 30), 30))
    load += 0.09 * (np.arange(count) % 180 < 60)  # a fridge
    for kw, length_s, per_day, at, width in (
        (2.2, 180, 6, 13, 5), (1.8, 300, 4, 12, 6), (2.0, 1500, 0.7, 10, 4), (7.0, 420, 1, 7, 2),
        (0.4, 3600, 4, 19, 3),
    ):  # fmt: skip
        for day in range(days):
            for _ in range(draw.poisson(per_day)):
                begin = int((day * 24 + draw.normal(at, width) % 24) * 360)
                load[begin : begin + length_s // BLOCK_S] += kw * draw.uniform(0.7, 1.1)
    for day in range(days):  # an oven at dinner: on for 60 s in every 150
        begin = int((day * 24 + draw.normal(18.5, 0.5)) * 360)
        on = (np.arange(240) % 15 < 6) * 2.4
        load[begin : begin + 240] += on[: max(0, min(240, count - begin))]
    cloud, clouds = 0.0, np.empty(count)
    for i, step in enumerate(draw.normal(0, 0.12, count)):
        cloud = 0.985 * cloud + step
        clouds[i] = cloud
    clear = np.maximum(np.sin((hour - 6) / 12 * math.pi), 0.0) ** 1.3
    pv = 4.5 * clear * (0.25 + 0.75 / (1 + np.exp(-3 * (clouds + 0.5)))) * sunny
    return load, pv


def halves(power):
    """(n,) kWh of each half hour of (n * 180,) kW of every ten seconds."""
    return power.reshape(-1, 1800 // BLOCK_S).sum(1) * BLOCK_S / 3600


@dataclass(frozen=True)
class Inverter:
    capacity_kwh: float = 13.5
    power_kw: float = 5.0
    round_trip: float = 0.9
    soc_min: float = 0.05
    soc_max: float = 1.0
    soc: float = 0.45
    ramp_kw_per_s: float = 1.0
    deadtime_s: int = 3
    watchdog_s: float = 120.0


class BatteryHome:
    """Live it by ``tick``. ``fault(kind, seconds, value)``: refuse (setpoints), no_follow (knows no
    power at the grid), ignore_mode (all but powers), deaf (takes everything and does as it likes),
    lie (does nothing, and says it does), derate (to ``value`` kW), stuck_soc, silent (no reading at
    all), meter_silent, away."""

    def __init__(self, load, pv, spec=None, every=10):
        self.spec, self.every = spec or Inverter(), every
        self._load, self._pv = load, pv
        self.now = float(BEGIN)
        self.soc, self.battery_kw, self.net_kw, self.grid_kw = self.spec.soc, 0.0, 0.0, 0.0
        self.mode, self.told_kw, self.follows = "auto", 0.0, False
        self._heard, self._waiting = -math.inf, []
        self._faults = {}
        self.permitted = True
        self.commands = []
        self.truth = Counter()  # every second
        self.said = Counter()  # as the meters told it
        self._net_kwh = self._battery_kwh = 0.0
        self.powers = (0.0, 0.0, float(BEGIN), float(BEGIN))  # battery, grid, their times
        self.level = (self.spec.soc, float(BEGIN))
        self._speak()

    # ---- what can go wrong --------------------------------------------------------------------

    def fault(self, kind, seconds=math.inf, value=0.0):
        self._faults[kind] = (self.now + seconds, value)
        if kind == "away":
            self._fall_back()

    def mend(self):
        self._faults = {}

    def on(self, kind):
        until, _ = self._faults.get(kind, (-math.inf, 0))
        return self.now < until

    # ---- the line to it -----------------------------------------------------------------------

    def command(self, what, value=0.0):
        """What the inverter hears: take, setpoint [kW], follow [kW, import positive], hand back."""
        if self.on("away"):
            raise OSError("no route to the inverter")
        self.commands.append((self.now, what, value))
        power = what in ("setpoint", "follow")
        if not self.permitted or (power and self.on("refuse")):
            return
        if what == "follow" and self.on("no_follow"):
            return
        if not power and self.on("ignore_mode"):
            return
        self._heard = self.now
        self._waiting.append((self.now + self.spec.deadtime_s, what, value))

    def switch(self, permitted):
        """The switch at the inverter."""
        self.permitted = permitted
        self._fall_back()

    def _fall_back(self):
        self.mode, self.told_kw, self._waiting, self._heard = "auto", 0.0, [], -math.inf
        self.follows = False

    # ---- physics ------------------------------------------------------------------------------

    def tick(self):
        """One second."""
        spec, eta = self.spec, math.sqrt(self.spec.round_trip)
        while self._waiting and self._waiting[0][0] <= self.now:
            _, what, value = self._waiting.pop(0)
            if what == "setpoint":
                self.told_kw, self.follows = min(max(value, -spec.power_kw), spec.power_kw), False
            elif what == "follow":
                self.told_kw, self.follows = value, True
            else:
                self.mode = "remote" if what == "take" else "auto"
        if self.mode == "remote" and self.now - self._heard >= spec.watchdog_s:
            self._fall_back()
        commanded = self.mode == "remote" and not self.on("deaf")
        wanted = self.told_kw - self.net_kw * self.follows if commanded else -self.net_kw
        if commanded and self.on("lie"):
            wanted = 0.0
        limit = self._faults["derate"][1] if self.on("derate") else spec.power_kw
        reach = spec.ramp_kw_per_s
        wanted = min(max(wanted, self.battery_kw - reach), self.battery_kw + reach)
        wanted = min(max(wanted, -limit), limit)
        most_in = max(spec.soc_max - self.soc, 0.0) * spec.capacity_kwh / eta * 3600
        most_out = max(self.soc - spec.soc_min, 0.0) * spec.capacity_kwh * eta * 3600
        self.battery_kw = min(max(wanted, -most_out), most_in)
        kwh = self.battery_kw / 3600
        self.soc += (kwh * eta if kwh > 0 else kwh / eta) / spec.capacity_kwh
        block = int(self.now - BEGIN) // BLOCK_S
        self.net_kw = float(self._load[block] - self._pv[block])
        self.grid_kw = self.net_kw + self.battery_kw
        self._net_kwh += self.net_kw / 3600
        self._battery_kwh += kwh
        self.now += 1
        self.truth.add(self.now, self._net_kwh, self._battery_kwh)
        if self.now % self.every == 0:
            self._speak()

    def _speak(self):
        if self.on("silent") or self.on("away"):
            return
        battery = self.battery_kw
        if self.on("lie"):
            told = self.told_kw - self.net_kw * self.follows
            battery = told if self.mode == "remote" else battery
        if not self.on("meter_silent"):
            wh = (
                math.floor(self._net_kwh * 1000) / 1000,
                math.floor(self._battery_kwh * 1000) / 1000,
            )
            self.said.add(self.now, *wh)
            self.powers = (battery, self.grid_kw, self.now, self.now)
        else:
            self.powers = (battery, self.powers[1], self.now, self.powers[3])
        if not self.on("stuck_soc"):
            self.level = (round(self.soc, 2), self.now)
        else:
            self.level = (self.level[0], self.now)

    def between(self, begin, end):
        """True (load less PV, battery) [kWh]."""
        return self.truth.between(begin, end)


class Counter:
    """Energies counted up to some times."""

    def __init__(self):
        self.times, self._net, self._battery = [float(BEGIN)], [0.0], [0.0]

    def add(self, time, net, battery):
        self.times.append(time)
        self._net.append(net)
        self._battery.append(battery)

    def between(self, begin, end):
        values = [[self._at(t, rows) for t in (begin, end)] for rows in (self._net, self._battery)]
        return tuple(high - low for low, high in values)

    def _at(self, time, rows):
        i = bisect_right(self.times, time)
        if i == len(self.times):
            return rows[-1]
        if i == 0:
            return rows[0]
        share = (time - self.times[i - 1]) / (self.times[i] - self.times[i - 1])
        return rows[i - 1] + share * (rows[i] - rows[i - 1])


class HomeSight:
    """``Sight`` of what the home's meters have said."""

    def __init__(self, home):
        self._home = home

    def see(self, now):
        battery, grid, battery_at, grid_at = self._home.powers
        level, level_at = self._home.level
        counted_to = self._home.said.times[-1]
        powers_at = min(battery_at, grid_at)
        return Seen(
            counted_to,
            grid,
            battery,
            powers_at,
            battery_at,
            level,
            level_at,
            self._home.permitted,
            min(counted_to, powers_at, level_at),
        )

    def counted(self, begin, end):
        return self._home.said.between(begin, end)


class HomeAdapter:
    """``Adapter`` to the home's inverter. ``down``: why the line is dead."""

    name = "home"

    def __init__(self, home):
        self._home, self.down = home, ""

    @property
    def trouble(self):
        return self.down

    def _say(self, *words):
        if self.down:
            raise OSError(self.down)
        self._home.command(*words)

    def take(self):
        self._say("take")

    def setpoint(self, kw):
        self._say("setpoint", kw)

    def follow(self, grid_kw):
        self._say("follow", grid_kw)

    def hand_back(self):
        self._say("hand back")

    def close(self):
        pass
