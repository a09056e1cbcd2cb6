"""The household's side by itself: on its computer are common, configs and fl_client alone."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

from common.data.store import write_household
from common.data.synthetic import generate
from common.flower_release import speaks_http
from fl_server.host.setup import admit_household
from fl_server.ledger import Ledger
from tests.support.ports import free_port
from tests.support.superlink import coordinator, run, service, wait

ROOT = Path(__file__).parents[3]
SIDE = ("common", "configs", "fl_client")
# The tests' environment has all of fedwatt installed: what a household's has not is refused.
_REFUSE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fl_server", "simulations", "tests"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
_CLIENT = ("-c", "from fl_client.host.commands import main; main()")
INTERVALS = 3
# The interpreter of an environment with another release of Flower; `make test-flower` sets it.
OTHER = os.environ.get("FEDWATT_OTHER_PYTHON")
WAYS = [("grpc", sys.executable)]
if speaks_http():
    WAYS.append(("http", sys.executable))
if OTHER:
    WAYS.append(("grpc", OTHER))


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of a computer that has the household's side and nothing else of fedwatt."""
    site = tmp_path / "site"
    site.mkdir()
    for package in SIDE:
        (site / package).symlink_to(ROOT / package)
    (site / "sitecustomize.py").write_text(_REFUSE)
    return {**os.environ, "PYTHONPATH": str(site)}


def homes(folder: Path) -> dict[str, str]:
    """Two homes that have something to trade at any hour: one makes more than it uses."""
    first = pd.Timestamp("2023-05-01", tz="Europe/London").tz_convert("UTC")
    for name, column in (("maker", "pv"), ("user", "misc")):
        home = generate(name, seed=3, first=first, intervals=11 * 48)
        home.frame[column] = 1.0
        write_household(home, folder)
    return {name: str(folder / f"{name}.parquet") for name in ("maker", "user")}


def test_the_other_sides_are_absent(alone: dict[str, str], tmp_path: Path) -> None:
    """The interpreter of these tests' households really cannot import them, nor its children."""
    for package in ("fl_server", "simulations"):
        ask = f"import subprocess, sys; import {package}"
        done = subprocess.run(
            [sys.executable, "-c", ask], env=alone, cwd=tmp_path, capture_output=True, check=False
        )
        assert f"No module named '{package}'" in done.stderr.decode()


@pytest.mark.waits
@pytest.mark.slow
@pytest.mark.parametrize(("transport", "python"), WAYS)
def test_the_households_side_joins_and_trades(
    transport: str, python: str, alone: dict[str, str], tmp_path: Path
) -> None:
    """``fedwatt-client init`` and ``start`` without the coordinator's side or the simulations: two
    such households join a real SuperLink over TLS, and energy goes from one to the other. By each
    way that this Flower has, and one of the two with another release of Flower."""
    data = homes(tmp_path / "homes")
    settings = [
        f"run.days={INTERVALS / 48}", "run.history_days=9", "fl.enabled=false",
        "run.node_deadline_s=240", "run.reply_deadline_s=240",
    ]  # fmt: skip
    with ExitStack() as stack:
        server = coordinator(tmp_path / "server", settings, str(tmp_path / "homes"), 2, transport)
        folder = stack.enter_context(server)
        address = f"127.0.0.1:{folder.deployment().fleet_port}"
        for name, file in data.items():
            home = tmp_path / name
            client = (python if name == "user" else sys.executable, *_CLIENT)
            init = subprocess.run(
                [*client, "init", str(home), "--name", name, "--data", file, "--server", address,
                 "--ca", str(folder.tls / "ca.crt"), "--port", str(free_port()), "--poll", "0.5"],
                env=alone, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert init.returncode == 0, init.stderr
            admit_household(folder.root, init.stdout.strip(), name)
            start = service([*client, "start", str(home)], home / "log.txt", alone)
            stack.enter_context(start)
        link = tmp_path / "server" / "superlink.log"
        wait(lambda: link.read_text().count("Activated") >= len(data), "households")
        run(folder, tmp_path / "run.log")
        told = subprocess.run(
            [python, *_CLIENT, "status", str(tmp_path / "user"), "--json"],
            env=alone, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert told.returncode == 0
    assert f'"settled up to": {INTERVALS - 1}' in told.stdout
    with Ledger(f"sqlite:///{folder.run / 'ledger.sqlite'}") as ledger:
        ledger.attach(None)
        assert ledger.verify().error is None
        bought = ledger.balances()
    assert bought["maker"][1] > 0 > bought["user"][1]
    trades = (folder.run / "intervals.jsonl").read_text().splitlines()
    assert len(trades) == INTERVALS
    assert all('"sent_kwh": 0.0' not in line for line in trades)
