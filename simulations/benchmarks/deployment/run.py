"""One community on this machine, set up by the same commands as anywhere, and measured.

Every household has its SuperNode, its key and its folder; all speak gRPC with TLS to a SuperLink on
loopback. The first one's traffic goes through a wire with a meter.
"""

import json
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import yaml

from common.cadence import HALF_HOUR
from common.data.store import write_household
from common.data.synthetic import generate, names
from common.errors import InputError
from fl_client.host.client_file import ClientFile
from fl_client.host.folder import init_client, supernode
from fl_server.host.flower import superlink
from fl_server.host.folder import Deployment, Folder
from fl_server.host.setup import admit_household, init_server
from fl_server.run_files import ROUNDS, read_lines
from simulations.benchmarks.deployment.kills import Find, below, killed, named
from simulations.benchmarks.deployment.relay import Relay
from simulations.benchmarks.deployment.soak import watched
from simulations.processes import free_ports, service, text_of, wait_for
from simulations.progress import track

HISTORY_DAYS = 9
DAY_S = 86_400.0
# What a household takes while its app answers, and a little more: the machine must not swap.
_GB_EACH = 0.32
_FEDWATT = (sys.executable, "-c", "from simulations.cli import main; main()")
_START_S = 1800.0


@dataclass(frozen=True)
class Measured:
    """One size. Memory in MB of one household without work: ``pss_mb`` shares of shared pages
    (median over households), ``rss_mb`` of the first one as if it were alone. ``cpu_s_per_hour``:
    of one without work. ``round_s``: market rounds, from the request to the booked interval;
    ``told_s``: from there until everybody has confirmed its fills; ``missing``: replies that did
    not come, in all rounds. ``idle_mb_per_day``: (down, up) of one without work; ``round_kb``:
    what a market round adds, both messages; ``model_round_mb`` what a model round adds, None
    without.
    """

    supernodes: int
    poll_s: float
    pss_mb: float
    rss_mb: float
    cpu_s_per_hour: float
    round_s: list[float]
    told_s: list[float]
    missing: int
    model_round_s: list[float]
    idle_mb_per_day: tuple[float, float]
    round_kb: tuple[float, float]
    model_round_mb: tuple[float, float] | None

    @property
    def mb_per_day(self) -> tuple[float, float]:
        """Bytes of a household and real day: 48 market rounds, 8 model rounds, and the polling."""
        model = self.model_round_mb or (0.0, 0.0)
        down, up = (
            self.idle_mb_per_day[i] + HALF_HOUR.per_day * self.round_kb[i] / 1e3 + 8 * model[i]
            for i in (0, 1)
        )
        return down, up


def measure(
    supernodes: int,
    out: Path,
    *,
    rounds: int,
    idle_s: float,
    poll_s: float,
    preset: str | None,
    soak: bool = False,
    kill_every: int | None = None,
) -> Measured:
    """Set up, measure idle for ``idle_s`` seconds, run ``rounds`` market rounds, take down.

    ``preset``: model trained once after the last market round, None for none. ``soak``: look at
    every part while it runs, and train once a day; ``soak.jsonl`` holds the looks. ``kill_every``:
    kill -9 one part after so many intervals, in turn; ``kills.jsonl`` says which and when. Raises
    InputError where the machine has too little memory, RuntimeError where a part does not come up.
    """
    free = psutil.virtual_memory().available / 1e9
    if free < supernodes * _GB_EACH:
        needed = supernodes * _GB_EACH
        raise InputError(f"--supernodes {supernodes}: needs {needed:.0f} GB, {free:.0f} are free")
    homes = out / "homes"
    first = pd.Timestamp("2023-05-01", tz="Europe/London").tz_convert("UTC")
    for name in track(names(supernodes), "homes"):
        write_household(
            generate(
                name, seed=3, first=first, intervals=(HISTORY_DAYS + 2) * HALF_HOUR.per_day + rounds
            ),
            homes,
        )
    settings = [
        f"run.days={rounds / HALF_HOUR.per_day}", f"run.history_days={HISTORY_DAYS}", "run.seed=5",
        f"fl.every_hours={24 if soak else rounds / 2}",
        f"fl.enabled={'false' if preset is None else 'true'}",
        f"run.node_deadline_s={_START_S}", f"run.reply_deadline_s={_START_S}",
        *([] if preset is None else [f"model.preset={preset}"]),
    ]  # fmt: skip
    folder = Folder(out / "server")
    ports = dict(zip(("fleet_port", "control_port", "page_port"), free_ports(3), strict=True))
    init_server(
        folder.root, ["127.0.0.1"], None, settings, str(homes), supernodes,
        Deployment(**ports),
    )  # fmt: skip
    patient = {"lead_s": 1.0, "market_deadline_s": 600.0, "closing_deadline_s": 600.0}
    deployment = yaml.safe_load(folder.server_file.read_text())
    folder.server_file.write_text(yaml.safe_dump(deployment | patient))
    with ExitStack() as stack:
        command, env = superlink(folder)
        kept = [sys.executable, "-m", "fl_client.host.keeper"]
        if kill_every is not None:
            command = [*kept, *command]
        link = stack.enter_context(service(command, env, out / "superlink.log"))
        wait_for(
            lambda: "Uvicorn running" in text_of(out / "superlink.log"), "the SuperLink", _START_S
        )
        relay = Relay(("127.0.0.1", ports["fleet_port"]))
        stack.callback(relay.close)
        nodes = []
        own = free_ports(supernodes)
        for number, name in enumerate(track(names(supernodes), "households started")):
            home = out / "households" / name
            port = relay.port if number == 0 else ports["fleet_port"]
            data = str(homes / f"{name}.parquet")
            file = ClientFile(
                name, data, f"127.0.0.1:{port}", port=own[number], poll_s=poll_s, keep_loaded=soak
            )
            key = init_client(home, file, folder.tls / "ca.crt")
            admit_household(folder.root, key, name)
            command, env = supernode(home)
            nodes.append(stack.enter_context(service([*kept, *command], env, home / "log.txt")))

        def there() -> bool:
            return text_of(out / "superlink.log").count("Activated") >= supernodes

        wait_for(there, f"{supernodes} households", _START_S)
        time.sleep(5.0)
        idle = _idle(nodes, relay, idle_s)
        meter, begin = (relay.down, relay.up), time.monotonic()
        with ExitStack() as watching:
            if soak:
                parts = {"superlink": link} | dict(zip(names(supernodes), nodes, strict=True))
                folders = {"server": folder.root, "households": out / "households"}
                looks = out / "soak.jsonl"
                watching.enter_context(watched(parts, folders, folder.status, looks))
            coordinator = _Coordinator(folder, out / "run.log")
            if kill_every is not None:
                victims: dict[str, Find] = {
                    "household": lambda: below(nodes[0]),
                    "ServerApp": lambda: named(link, "serverapp"),
                    "coordinator": coordinator.processes,
                    "executor": lambda: below(nodes[-1])[1:2],
                    "SuperLink": lambda: below(link),
                }
                kills = killed(victims, folder.status, out / "kills.jsonl", every=kill_every)
                watching.enter_context(kills)
            coordinator.run()
        gone = time.monotonic() - begin
        extra = (relay.down - meter[0], relay.up - meter[1])
    return _measured(folder, supernodes, poll_s, rounds, idle, gone, extra)


def _measured(
    folder: Folder,
    supernodes: int,
    poll_s: float,
    rounds: int,
    idle: "_Idle",
    gone: float,
    extra: tuple[int, int],
) -> Measured:
    events = [json.loads(x) for x in text_of(folder.log / "coordinator.jsonl").splitlines()]
    # The last booking closes the run: no market round belongs to it.
    booked = [e for e in events if e["event"] == "interval booked" and e["interval"] < rounds]
    told = [e for e in events if e["event"] == "fills told"]
    if len(booked) < rounds:
        raise RuntimeError(f"{folder.root}: {len(booked)} of {rounds} market rounds were booked")
    learned = read_lines(folder.run / ROUNDS)
    added = [bytes_ - rate * gone for bytes_, rate in zip(extra, idle.bytes_per_s, strict=True)]
    model = None
    if learned:
        # The size of the model is known; what else was added belongs to the market rounds.
        size = [
            float(learned[0][key]) / supernodes  # type: ignore[arg-type]
            for key in ("bytes_down", "bytes_up")
        ]
        # It is sent once more at the start, for everybody to forecast with.
        added = [added[0] - 1.5 * size[0], added[1] - size[1]]
        model = (size[0] / 1e6, size[1] / 1e6)
    return Measured(
        supernodes=supernodes,
        poll_s=poll_s,
        pss_mb=idle.pss_mb,
        rss_mb=idle.rss_mb,
        cpu_s_per_hour=idle.cpu_s_per_hour,
        round_s=[e["seconds"] for e in booked],
        told_s=[_between(a, b) for a, b in zip(booked, told, strict=False)],
        missing=sum(len(e["missing"]) for e in booked),
        model_round_s=[float(line["seconds"]) for line in learned],  # type: ignore[arg-type]
        idle_mb_per_day=(
            idle.bytes_per_s[0] * DAY_S / 1e6,
            idle.bytes_per_s[1] * DAY_S / 1e6,
        ),
        round_kb=(added[0] / rounds / 1e3, added[1] / rounds / 1e3),
        model_round_mb=model,
    )


def _between(a: dict[str, str], b: dict[str, str]) -> float:
    return float((pd.Timestamp(b["time"]) - pd.Timestamp(a["time"])).total_seconds())


@dataclass(frozen=True)
class _Idle:
    pss_mb: float
    rss_mb: float
    cpu_s_per_hour: float
    bytes_per_s: tuple[float, float]


def _idle(nodes: list[psutil.Process], relay: Relay, seconds: float) -> _Idle:
    trees = [[node, *node.children(recursive=True)] for node in nodes]

    def spent() -> list[float]:
        return [sum(sum(p.cpu_times()[:2]) for p in tree) for tree in trees]

    before, meter, begin = spent(), (relay.down, relay.up), time.monotonic()
    time.sleep(seconds)
    gone = time.monotonic() - begin
    cpu = np.median(np.subtract(spent(), before)) / gone * 3600
    memory = [[p.memory_full_info() for p in tree] for tree in trees]
    return _Idle(
        pss_mb=float(np.median([sum(m.pss for m in tree) for tree in memory])) / 1e6,
        rss_mb=sum(m.rss for m in memory[0]) / 1e6,
        cpu_s_per_hour=float(cpu),
        bytes_per_s=((relay.down - meter[0]) / gone, (relay.up - meter[1]) / gone),
    )


class _Coordinator:
    """``fedwatt server run``, started again where it was killed, as the operator would."""

    def __init__(self, folder: Folder, log: Path) -> None:
        self._command = [
            *_FEDWATT, "server", "run", str(folder.root), "--speed", "max", "--no-page",
        ]  # fmt: skip
        self._log = log
        self._process: psutil.Popen | None = None

    def processes(self) -> list[psutil.Process]:
        """The command itself, while it runs."""
        return [] if self._process is None or not self._process.is_running() else [self._process]

    def run(self) -> None:
        """Return when the run is finished. Raises RuntimeError for any other end but a kill."""
        status = -signal.SIGKILL
        while status == -signal.SIGKILL:
            with self._log.open("ab") as file:
                self._process = psutil.Popen(self._command, stdout=file, stderr=file)
                status = self._process.wait()
        if status:
            raise RuntimeError(f"{self._log}: the run ended with status {status}")


def clear(out: Path) -> None:
    """Forget the homes and folders of a size that has been measured; logs stay."""
    for part in ("homes", "households", "server/flwr", "server/superlink.db"):
        path = out / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
