"""A community to look at: everybody's folders, and all its processes at once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from common.data.store import read_household
from common.errors import InputError
from fl_client.home.clock import read_clock
from fl_client.home.mapping import read_mapping
from fl_client.home.store import STORE, Store
from fl_server.host.folder import Folder, Live
from simulations.community import Ports, commands, prepare
from simulations.house import read_house
from simulations.processes import free_ports, wait_for
from tests.support.broker import MOSQUITTO
from tests.support.signals import as_at_a_terminal

PORTS = Ports(1883, 9092, 8000, 9480)


def test_everybody_has_a_past_and_one_clock(tmp_path: Path) -> None:
    """Each house has metered four weeks, to the Wh what its file says was used and made; their end
    is where its live meter goes on; all clocks show the run's beginning at one moment."""
    out = tmp_path / "community"
    prepare(out, 2, 60.0, 90.0, PORTS)
    live = Live.read(Folder(out / "server").live)
    assert live is not None
    for name in ("H0001", "H0002"):
        clock = read_clock(out / name)
        assert clock.anchor == live.anchor
        assert clock.speed == live.speed == 60.0
        rows = read_household(out / "homes" / f"{name}.parquet")
        begins = rows.frame.index[0].timestamp()
        assert (clock.at - begins) % 1800 == 0
        store = Store(out / name / STORE)
        known = {
            role: store.intervals(role, 30, 0, 2**40)
            for role in ("import", "export", "pv", "charge", "discharge")
        }
        store.close()
        pv = [one.kwh for one in known["pv"]]
        assert len(pv) >= 27 * 48
        assert {one.kind for found in known.values() for one in found} == {"measured"}
        assert pv == pytest.approx(rows.frame["pv"].to_numpy()[: len(pv)], abs=0.0021)
        used = [
            i.kwh - e.kwh + p.kwh + d.kwh - c.kwh
            for i, e, p, c, d in zip(*known.values(), strict=True)
        ]
        assert used == pytest.approx(rows.consumption[: len(pv)], abs=0.0051)
        house, _ = read_house(out / name)
        assert house.time == known["pv"][-1].start + 1800
        assert len(read_mapping(out / name / "meters.yaml")) == 7
    with pytest.raises(InputError, match="is there already"):
        prepare(out, 2, 60.0, 90.0, PORTS)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_its_containers_are_its_processes(tmp_path: Path) -> None:
    """The compose file starts what ``commands`` does, each after what it needs, none as root; the
    folders come first, and households when they have been let in."""
    file = Path(__file__).parents[2] / "configs" / "deploy" / "community.yaml"
    services = yaml.safe_load(file.read_text())["services"]
    wanted = commands(Path("/data/community"), 4)
    names = {"broker": "broker", "link": "link", "run": "run"} | {
        f"{kind}-{n}": f"H{n:04d}{end}"
        for n in range(1, 5)
        for kind, end in (("house", "-house"), ("household", ""))
    }
    assert set(services) == {*names, "folders", "admit"}
    for service, process in names.items():
        one = services[service]
        told = one.get("entrypoint", one.get("command"))
        # The image's own program and its subcommand stand for a console script's path.
        assert [w for w in told if w not in ("python", "client", "mosquitto")] == wanted[process][
            1:
        ]
    for service, one in services.items():
        assert one["user"] == "1000:1000"
        assert one["network_mode"] == "host"
        after = set(one.get("depends_on", {}))
        if service.startswith(("household", "run")):
            assert after == {"admit"}
        elif service not in ("folders", "admit"):
            assert after == {"folders"}
    assert services["admit"]["depends_on"] == {"link": {"condition": "service_started"}}


# Two parts that write down who they are, one of which may end by itself.
_PARTS = """
import sys
from pathlib import Path
from simulations import community
out, seconds = Path(sys.argv[1]), sys.argv[2]
part = (
    "import os, sys, time; print(os.getpid(), flush=True); time.sleep(float(sys.argv[1]));"
    "sys.exit(3)"
)
words = [sys.executable, "-c", part]
community.commands = lambda *_: {"broker": [*words, "60"], "run": [*words, seconds]}
from common.console import run, single
app = single()
app.command()(lambda: sys.exit(community.run(out, 1)))
del sys.argv[1:]
run(app, "fedwatt")
"""


def parts(out: Path, seconds: float) -> "tuple[subprocess.Popen[str], list[int]]":
    """A community of two processes, and their ids once both are there."""
    command = [sys.executable, "-c", _PARTS, str(out), str(seconds)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=as_at_a_terminal
    )
    logs = [out / "log" / f"{name}.txt" for name in ("broker", "run")]
    wait_for(lambda: all(log.exists() and log.read_text() for log in logs), "parts", 60)
    return process, [int(log.read_text()) for log in logs]


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


@pytest.mark.parametrize("told", [signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_of_one_whose_terminal_is_closed_or_that_is_killed(
    tmp_path: Path, told: signal.Signals
) -> None:
    """However it ends, its processes end with it."""
    process, started = parts(tmp_path, 60)
    process.send_signal(told)
    process.communicate(timeout=60)
    assert process.returncode == (0 if told == signal.SIGHUP else -told)
    wait_for(lambda: all(map(gone, started)), "their end", 20)


def test_a_part_that_dies_is_told_in_a_line(tmp_path: Path) -> None:
    """One line says which part, with what status and where its log is; the status is 1, and the
    others are ended."""
    process, started = parts(tmp_path, 2)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    log = tmp_path / "log" / "run.txt"
    assert said == f"fedwatt: run has ended with status 3, and all with it: see {log}\n"
    assert all(map(gone, started))


def test_pages_that_are_taken_are_told_with_a_way_out() -> None:
    """A second community says what to do: end the first, or other ports."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"{port} already: end the community .* --pages \d"):
            Ports.free(port, 1)


def figures(port: int) -> dict[str, Any]:
    """What a house's page has of it by now."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=10) as reply:
            loaded: dict[str, Any] = json.loads(reply.read())
            return loaded
    except OSError:
        return {}


@pytest.mark.waits
@pytest.mark.slow
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_all_its_processes(tmp_path: Path) -> None:
    """One command: broker, coordinator, two houses and households trade within minutes, every page
    answers; told to end, nothing of it is left."""
    (pages, *_), out = free_ports(3), tmp_path / "community"
    command = [sys.executable, "-c", "from simulations.cli import main; main()", "community"]
    options = ["--out", out, "--households", 2, "--pages", pages, "--speed", 30, "--lead", 45]
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [*command, *map(str, options)], env=dict(os.environ), stdout=log, stderr=log
    )
    try:
        end = time.monotonic() + 900
        while True:
            found = [figures(pages + 1 + number) for number in range(2)]
            if all((one.get("settled_until") or "") > "2026" for one in found):
                break
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, found
            time.sleep(2)
        with urllib.request.urlopen(f"http://127.0.0.1:{pages}/", timeout=30) as reply:
            assert "2 of 2" in reply.read().decode()
        assert all(one["soc"] is not None and one["import_kw"] is not None for one in found)
        started = psutil.Process(process.pid).children(recursive=True)
        assert len(started) > 10
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        log.close()
    assert not [one for one in started if one.is_running() and one.status() != "zombie"]
