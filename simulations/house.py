"""An emulated home for trying things out: load, sun, meters and a battery, on MQTT.

    python -m simulations.house FOLDER

Plays a household file second by second on the clock of the household's folder, of which it reads
``house.yaml``; its meters speak on ``house/NAME/meter`` and its battery on ``house/NAME/battery``.
The battery covers the house's own use, unless it hears ``house/NAME/battery/mode/set`` (``remote``
or ``auto``), and then does ``house/NAME/battery/setpoint/set`` [W, discharge > 0] or holds
``house/NAME/battery/follow/set`` [W, import > 0] at the grid's connection, whichever it heard last;
what it does not hear again within its watchdog's time it forgets.
"""

import json
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from paho.mqtt.client import MQTTMessage

from common.arrays import Floats
from common.data.store import read_household
from common.errors import InputError
from common.processes import told_to_stop
from common.rng import generator
from common.yaml_text import read_yaml
from fl_client.home.clock import HouseClock, read_clock
from fl_client.home.sources.mqtt import connection

FILE = "house.yaml"
ENERGIES = ("import", "export", "pv", "charge", "discharge")
INTERVAL_S = 1800
TICK_S = 10
_PAST_TICK_S = 60
_REMOTE, _AUTO = "remote", "auto"


@dataclass(frozen=True)
class Store:
    """A battery and its inverter. ``eta``: one way. ``delay_s``: until a command acts.
    ``watchdog_s``: until one is forgotten."""

    capacity_kwh: float = 10.0
    power_kw: float = 4.0
    eta: float = 0.95
    soc_min: float = 0.05
    soc_max: float = 1.0
    ramp_kw_per_s: float = 1.0
    delay_s: float = 3.0
    watchdog_s: float = 120.0


class House:
    """``load``, ``pv`` (N,) kWh per half hour from ``begins`` [s since 1970] on.

    ``counted``: kWh by name of ENERGIES since then; ``time``: how far it has lived [s].
    """

    def __init__(
        self, name: str, load: Floats, pv: Floats, begins: float, store: Store, seed: int = 0
    ) -> None:
        self.name, self.store, self.time = name, store, begins
        self.counted = dict.fromkeys(ENERGIES, 0.0)
        self.soc, self.battery_kw, self.net_kw = 0.5, 0.0, 0.0
        self._rows, self._begins, self._seed = (load, pv), begins, seed
        self._shape: tuple[int, Floats] = (-1, np.zeros((2, 0)))
        self._deficit_kw = 0.0
        self._heard, self._setpoint_kw, self._mode = -math.inf, 0.0, _AUTO
        self._follows = False
        self._waiting: list[tuple[float, str, float, bool]] = []

    @property
    def mode(self) -> str:
        """``remote`` while it obeys, ``auto`` while it covers the house."""
        return self._mode

    @property
    def setpoint_kw(self) -> float:
        """The last one heard, charging positive; 0 while a power is held at the grid."""
        return 0.0 if self._follows else self._setpoint_kw

    def command(self, mode: str, kw: float, follows: bool = False) -> None:
        """Hear a command: ``remote`` with a power [kW, charging positive] or, where it
        ``follows``, with what to hold at the grid [kW, import positive]; or ``auto``."""
        self._heard = self.time
        self._waiting.append((self.time + self.store.delay_s, mode, kw, follows))

    def live(self, until: float, tick_s: int = TICK_S) -> None:
        """Live until ``until`` [s] in steps of ``tick_s`` (a divisor of 60)."""
        while self.time + tick_s <= until:
            self._tick(tick_s)

    def _tick(self, tick_s: int) -> None:
        spec, hours = self.store, tick_s / 3600
        load_kw, pv_kw = self._flow(self.time)
        while self._waiting and self._waiting[0][0] <= self.time:
            _, self._mode, self._setpoint_kw, self._follows = self._waiting.pop(0)
        if self._mode == _REMOTE and self.time - self._heard >= spec.watchdog_s:
            self._mode, self._setpoint_kw, self._follows = _AUTO, 0.0, False
        # What covers the house knows only the power of a moment ago.
        wanted = self._setpoint_kw if self._mode == _REMOTE else 0.0
        if self._mode == _AUTO or self._follows:
            wanted -= self._deficit_kw
        reach = spec.ramp_kw_per_s * tick_s
        wanted = min(max(wanted, self.battery_kw - reach), self.battery_kw + reach)
        kwh = min(max(wanted, -spec.power_kw), spec.power_kw) * hours
        kwh = min(kwh, max(spec.soc_max - self.soc, 0.0) * spec.capacity_kwh / spec.eta)
        kwh = max(kwh, -max(self.soc - spec.soc_min, 0.0) * spec.capacity_kwh * spec.eta)
        if spec.capacity_kwh > 0:
            self.soc += (max(kwh, 0) * spec.eta - max(-kwh, 0) / spec.eta) / spec.capacity_kwh
        self._deficit_kw = load_kw - pv_kw
        net = (load_kw - pv_kw) * hours + kwh
        flows = (max(net, 0.0), max(-net, 0.0), pv_kw * hours, max(kwh, 0.0), max(-kwh, 0.0))
        for name, flow in zip(ENERGIES, flows, strict=True):
            self.counted[name] += flow
        self.battery_kw, self.net_kw = kwh / hours, net / hours
        self.time += tick_s

    def _flow(self, time: float) -> tuple[float, float]:
        """Mean load and pv [kW] of the minute of ``time``; a half hour's energy is the row's."""
        row, minute = divmod(int((time - self._begins) // 60), 30)
        if not 0 <= row < len(self._rows[0]):
            raise InputError(f"house {self.name}: its readings end at {iso(time)}")
        if self._shape[0] != row:
            draw = generator(self._seed, self.name, row, "minutes of a house")
            weight = np.exp(draw.normal(0.0, ((0.6,), (0.2,)), (2, 30)))
            self._shape = (row, weight / weight.mean(axis=1, keepdims=True))
        load, pv = (2.0 * rows[row] for rows in self._rows)
        return float(load * self._shape[1][0, minute]), float(pv * self._shape[1][1, minute])

    def past(self, until: float) -> Iterator[tuple[float, dict[str, float]]]:
        """Live until ``until``; what the registers showed at each half hour: (time [s], kWh)."""
        yield self.time, dict(self.counted)
        while self.time + INTERVAL_S <= until:
            self.live(self.time + INTERVAL_S, _PAST_TICK_S)
            yield self.time, dict(self.counted)

    def saved(self) -> dict[str, object]:
        """What ``resume`` goes on from."""
        return {"time": self.time, "soc": self.soc, "counted": self.counted}

    def resume(self, time: float, soc: float, counted: dict[str, float]) -> None:
        """Go on from what was saved."""
        self.time, self.soc, self.counted = time, soc, dict(counted)

    def meter(self) -> dict[str, object]:
        """What the meters say: registers in whole Wh, as real ones do."""
        kwh = {
            f"{name}_kwh": math.floor(1000 * v + 1e-6) / 1000 for name, v in self.counted.items()
        }
        return {"time": iso(self.time), "power_w": round(1000 * self.net_kw), **kwh}

    def battery(self) -> dict[str, object]:
        """What the inverter says; powers in W, discharge > 0."""
        return {
            "time": iso(self.time),
            "soc": round(100 * self.soc),
            "power_w": round(-1000 * self.battery_kw),
            "setpoint_w": round(-1000 * self._setpoint_kw),
            "mode": self._mode,
        }


def iso(seconds: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def house_of(rows: Path, begins: float, store: Store) -> House:
    """The house that plays the household file ``rows`` from ``begins`` [s] on."""
    household = read_household(rows)
    first = household.frame.index[0].timestamp()
    skip = round((begins - first) / INTERVAL_S)
    if skip < 0 or first + skip * INTERVAL_S != begins:
        raise InputError(f"{rows}: has no half hour that begins at {iso(begins)}")
    pv = household.frame["pv"].to_numpy(np.float64)
    return House(household.name, household.consumption[skip:], pv[skip:], begins, store)


def write_house(home: Path, rows: Path, begins: float, house: House, broker: str) -> None:
    """Keep what ``python -m simulations.house`` goes on from."""
    kept = {"rows": str(rows), "begins": begins, "broker": broker, "store": asdict(house.store)}
    (home / FILE).write_text(json.dumps(kept | {"saved": house.saved()}, indent=1) + "\n")


def read_house(home: Path) -> tuple[House, str]:
    """The house of a folder as it was saved, and its broker's URL. Raises InputError."""
    path = home / FILE
    if not path.exists():
        raise InputError(f"{path}: no such file (fedwatt community makes it)")
    kept = read_yaml(path)
    house = house_of(Path(kept["rows"]), kept["begins"], Store(**kept["store"]))
    house.resume(**kept["saved"])
    return house, str(kept["broker"])


class Bridge:
    """Puts a house on MQTT: its meters and its battery speak, and commands are heard."""

    def __init__(self, house: House, broker: str, clock: HouseClock) -> None:
        self._house, self._clock, self._base = house, clock, f"house/{house.name}"
        self._lock = threading.Lock()
        self._mode, self._kw, self._follows = _AUTO, 0.0, False
        client, self._host, self._port = connection(broker, {}, f"house-{house.name}", clean=True)
        self._client = client
        client.on_connect = self._connected
        client.on_message = self._heard

    def _connected(self, client: Any, _data: Any, _flags: Any, _reason: Any, _more: Any) -> None:
        client.subscribe(f"{self._base}/battery/+/set", 1)

    def _heard(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        what, said = message.topic.split("/")[-2], bytes(message.payload).decode("utf-8", "replace")
        with self._lock:
            if what == "mode" and said in (_REMOTE, _AUTO):
                self._mode = said
            elif what in ("setpoint", "follow"):
                try:
                    kw = float(said) / 1000
                except ValueError:
                    return
                self._follows = what == "follow"
                self._kw = kw if self._follows else -kw
            kw = self._kw if math.isfinite(self._kw) else 0.0
            self._house.command(self._mode, kw, self._follows)

    def run(self, stop: threading.Event) -> None:
        """Live by the clock until ``stop`` is set."""
        self._client.connect_async(self._host, self._port)
        self._client.loop_start()
        with self._lock:  # what it has missed while nobody let it live
            self._house.live(self._clock.now() - TICK_S, _PAST_TICK_S)
        while not stop.wait(
            max(self._clock.wall(self._house.time + TICK_S - self._clock.now()), 0)
        ):
            with self._lock:
                self._house.live(self._house.time + TICK_S)
                told: Sequence[tuple[str, dict[str, object]]] = (
                    ("meter", self._house.meter()), ("battery", self._house.battery()),
                )  # fmt: skip
            for topic, body in told:
                self._client.publish(f"{self._base}/{topic}", json.dumps(body), 1)
        self._client.disconnect()
        self._client.loop_stop()


def main() -> int:
    """Run the house of a folder until SIGTERM or SIGINT."""
    stop = told_to_stop()
    home = Path(sys.argv[1])
    try:
        house, broker = read_house(home)
        Bridge(house, broker, read_clock(home)).run(stop)
    except InputError as error:
        print(f"fedwatt: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
