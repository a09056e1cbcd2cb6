"""A community to look at, on this machine alone: broker, coordinator, households, their houses.

Each is a process, or several, as on hosts of their own; only the houses are emulated, and the clock
runs faster. ``prepare`` makes the folders, ``commands`` says what is started in them: by
``fedwatt community`` here, or each in a container of its own.
"""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import yaml

from common.cadence import HALF_HOUR
from common.data.store import write_household
from common.data.synthetic import Community, generate, names
from common.errors import InputError, RunError
from common.files import write_secret, write_whole
from common.processes import BIN, environment, listens, told_to_stop
from fl_client.control.record import COMMAND, SHADOW
from fl_client.control.settings import CONTROL
from fl_client.home.clock import CLOCK
from fl_client.home.deriving import derive
from fl_client.home.mapping import MAPPING, read_mapping
from fl_client.home.sources.source import MQTT
from fl_client.home.store import OWN, STORE, Reading
from fl_client.home.store import Store as Readings
from fl_client.host.client_file import SECRETS, ClientFile
from fl_client.host.folder import init_client
from fl_server.host.folder import Deployment, Folder, Live
from fl_server.host.members import admitted, read_members
from fl_server.host.setup import admit_household, init_server
from simulations.house import ENERGIES, House, Store, house_of, write_house
from simulations.processes import free_ports, service, wait_for

LINK = "link"
_START_S, _ENDS_S = 120.0, 15.0
_HISTORY_DAYS = 28
_RUN_DAYS = 7
_FIRST = pd.Timestamp("2026-05-18", tz="Europe/London").tz_convert("UTC")
_BEGINS_AT = pd.Timedelta(hours=9)
_SEED = 3
# A command may be late by so much on the wall: as the house sees it, so many times more.
_LATE_S, _UNHEARD_S = 1.0, 10.0
_HALF_HOUR_S = 1800.0
# How long a market round waits for who is slow, as a share of the half hour.
_PATIENCE = 0.75
_SETTINGS = (
    f"run.days={_RUN_DAYS}", f"run.history_days={_HISTORY_DAYS}", f"run.seed={_SEED}",
    "fl.local_steps=1", "fl.every_hours=1",
)  # fmt: skip


@dataclass(frozen=True)
class Ports:
    """Of this machine's loopback. ``pages``: the community's; the houses' follow."""

    broker: int
    fleet: int
    control: int
    pages: int

    @classmethod
    def free(cls, pages: int, households: int) -> "Ports":
        """Those of processes are any; those of pages are not. Raises InputError where taken."""
        for port in range(pages, pages + households + 1):
            if listens(port):
                raise InputError(
                    f"--pages {pages}: something listens on port {port} already: end the community "
                    f"that was started before, or choose --pages {_beside(pages)}"
                )
        broker, fleet, control = free_ports(3)
        return cls(broker, fleet, control, pages)


def _beside(pages: int) -> int:
    return pages + 100 if pages + 100 <= 65000 else pages - 100


def prepare(out: Path, households: int, speed: float, lead_s: float, ports: Ports) -> None:
    """Make everybody's folders in ``out``; the run's clock begins ``lead_s`` seconds from now.

    The houses have been lived in for four weeks by then, and their meters been read. Raises
    InputError.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: is there already; name another --out, or remove it")
    begins = _FIRST + pd.Timedelta(days=_HISTORY_DAYS) + _BEGINS_AT
    for name in names(households):
        intervals = (_HISTORY_DAYS + _RUN_DAYS + 3) * HALF_HOUR.per_day
        lived = generate(
            name, seed=_SEED, first=_FIRST, intervals=intervals, community=Community(pv=0.7)
        )
        write_household(lived, out / "homes")
    folder = Folder(out / "server")
    deployment = Deployment(
        fleet_port=ports.fleet, control_port=ports.control, page_port=ports.pages,
        market_deadline_s=_PATIENCE * _HALF_HOUR_S / speed,
    )  # fmt: skip
    init_server(
        folder.root, ["127.0.0.1"], None, _SETTINGS, str(out / "homes"), households, deployment
    )
    broker = f"mqtt://127.0.0.1:{ports.broker}"
    store = Store(watchdog_s=min(max(_UNHEARD_S * speed, 120.0), 3600.0))
    own = free_ports(households)
    before = (begins - pd.Timedelta(seconds=lead_s * speed)).floor("30min")
    for number, name in enumerate(names(households)):
        home = out / name
        entries = _meters(name)
        file = ClientFile(
            name, "meters", f"127.0.0.1:{ports.fleet}", port=own[number], poll_s=1.0,
            page_port=ports.pages + 1 + number, discovery="homeassistant",
            # Half an hour takes seconds: none of them for loading.
            keep_loaded=speed > 1,
        )  # fmt: skip
        init_client(home, file, folder.tls / "ca.crt", entries)
        write_secret(home / SECRETS, f"{MQTT}={broker}\n".encode())
        rows = out / "homes" / f"{name}.parquet"
        house = house_of(rows, _FIRST.timestamp(), store)
        # The last one is only shown what it would do.
        mode = COMMAND if number < households - 1 or households == 1 else SHADOW
        _steer(home, name, mode, store, speed)
        _remember(home, house, before.timestamp())
        write_house(home, rows, _FIRST.timestamp(), house, broker)
    write_whole(out / "mosquitto.conf", _broker(out, ports.broker))
    # All clocks together, when all has been made.
    anchor = time.time() + lead_s
    run = f"community-{secrets.token_hex(4)}"
    Live(run, begins.isoformat(), anchor, speed).write(folder.live)
    clock = {"at": begins.timestamp(), "anchor": anchor, "speed": float(speed)}
    for name in names(households):
        write_whole(out / name / CLOCK, yaml.safe_dump(clock))


def admit(out: Path, households: int) -> None:
    """Let everybody in, as soon as the SuperLink is up."""
    folder = Folder(out / "server")
    port = folder.deployment().control_port
    try:
        wait_for(lambda: listens(port), "the SuperLink", _START_S)
    except RuntimeError as error:
        raise RunError(f"{error}: see {out / 'log' / LINK}.txt") from None
    there = admitted(read_members(folder.members))
    for name in names(households):
        if name not in there:
            admit_household(folder.root, (out / name / "key.pub").read_text(), name)


def _meters(name: str) -> list[dict[str, object]]:
    said = {"time": "time"}
    meter = {"topic": f"house/{name}/meter"} | said
    battery = {"topic": f"house/{name}/battery"} | said
    found: list[dict[str, object]] = [
        {"role": role, **meter, "json": f"{role}_kwh"} for role in ENERGIES
    ]
    found.append({"role": "power", **meter, "json": "power_w"})
    found.append({"role": "soc", **battery, "json": "soc"})
    return found


def _steer(home: Path, name: str, mode: str, store: Store, speed: float) -> None:
    """Let control drive the battery. Times are the house's: at sixty times the clock a message
    that takes a second comes a minute late."""
    topic = f"house/{name}/battery"
    control = {
        "mode": mode,
        "adapter": "mqtt",
        "setpoint": {"topic": f"{topic}/setpoint/set", "unit": "W", "sign": -1},
        "follow": {"topic": f"{topic}/follow/set", "unit": "W"},
        "take": {"topic": f"{topic}/mode/set", "value": "remote"},
        "hand_back": {"topic": f"{topic}/mode/set", "value": "auto"},
        "readback": {"power": {"topic": topic, "json": "power_w", "time": "time", "sign": -1}},
        "limits": {"soc_min": 0.1, "soc_max": 0.95},
        "watchdog_s": store.watchdog_s,
        "deadtime_s": min(max(_LATE_S * speed, store.delay_s), 60.0),
        "every_s": max(_LATE_S / 2 * speed, 10.0),
        "stale_s": min(max(_UNHEARD_S * speed, 60.0), 3600.0),
    }
    battery = {
        "capacity_kwh": store.capacity_kwh,
        "power_kw": store.power_kw,
        "round_trip_efficiency": store.eta**2,
        "soc_min": 0.1,
        "soc_max": 0.95,
    }
    write_whole(home / CONTROL, yaml.safe_dump(control, sort_keys=False))
    write_whole(home / "settings.yaml", yaml.safe_dump({"battery": battery}, sort_keys=False))


def _remember(home: Path, house: House, until: float) -> None:
    """Let a house live until then, and keep what its meters said at every half hour."""
    channels = [one for one in read_mapping(home / MAPPING) if one.role in ENERGIES]
    store = Readings(home / STORE, write=True)
    try:
        readings = [
            Reading(channel.name, time, time + 1.0, round(kwh[channel.role], 3), OWN)
            for time, kwh in house.past(until)
            for channel in channels
        ]
        derive(store, channels, 30, store.put(readings), until + 1.0)
    finally:
        store.close()


def _broker(out: Path, port: int) -> str:
    data = out / "broker"
    data.mkdir(exist_ok=True)
    # Started by root it would become somebody else, who may not write here.
    root = "user root\n" if os.geteuid() == 0 else ""
    return (
        f"listener {port} 127.0.0.1\nallow_anonymous true\n{root}"
        f"persistence true\npersistence_location {data}/\n"
    )


def commands(out: Path, households: int) -> dict[str, list[str]]:
    """What runs, by name, in the order in which it is started. Raises InputError."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto is None:
        raise InputError("mosquitto: not installed (Debian: apt-get install mosquitto)")
    fedwatt, client = str(BIN / "fedwatt"), str(BIN / "fedwatt-client")
    server = str(out / "server")
    found = {"broker": [mosquitto, "-c", str(out / "mosquitto.conf")]}
    found[LINK] = [fedwatt, "server", "start", server]
    for name in names(households):
        home = str(out / name)
        found[f"{name}-house"] = [sys.executable, "-m", "simulations.house", home]
        found[name] = [client, "start", home]
    found["run"] = [fedwatt, "server", "run", server]
    return found


def run(out: Path, households: int) -> int:
    """Start everything and stand by until SIGINT, SIGTERM or SIGHUP, or until the run is over.

    Raises RunError where a part of it ends before.
    """
    stop = told_to_stop()
    with ExitStack() as stack:
        made = {}
        for name, command in commands(out, households).items():
            log = out / "log" / f"{name}.txt"
            made[name] = stack.enter_context(service(command, environment(out / "flwr"), log))
            if name == LINK:
                admit(out, households)
        stack.callback(_end, list(made.values()))
        while not stop.wait(1.0):
            for name, process in made.items():
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    status = process.wait()
                    if name == "run" and status == 0:
                        return 0
                    said = "has ended" if status is None else f"has ended with status {status}"
                    raise RunError(f"{name} {said}, and all with it: see {out / 'log' / name}.txt")
    return 0


def _end(processes: Iterable[psutil.Process]) -> None:
    """End all and what they have started, together: who is left alone would not be found later."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += [process, *process.children(recursive=True)]
    for one in found:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(found, timeout=_ENDS_S)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
