"""``flwr run .``: the same apps under Flower's own command, on a SuperLink of this machine."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from flwr.serverapp import Grid

from common import __version__
from common.config import from_run_config
from common.errors import InputError
from simulations import flower_app
from simulations.simulate import simulate
from tests.support.live import rows
from tests.support.runs import small

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A SuperLink for simulations, and a Flower home that knows it as ``local``."""
    home = tmp_path / "flwr"
    home.mkdir()
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        port = plug.getsockname()[1]
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "local"\n\n[superlink.local]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    env = dict(
        os.environ, FLWR_HOME=str(home), FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1",
        RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1",
        PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}",
    )  # fmt: skip
    log = tmp_path / "superlink.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                str(BIN / "flower-superlink"), "--insecure", "--simulation",
                "--disable-runtime-dependency-installation", "--port", str(port),
            ],
            env=env, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while b"Uvicorn running" not in log.read_bytes():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        yield env
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.waits
@pytest.mark.slow
def test_flwr_run_gives_the_ledger_of_fedwatt_simulate(
    environment: dict[str, str], homes: Path, tmp_path: Path
) -> None:
    """Every node is a household; the run books what ``fedwatt simulate`` does, and is reported."""
    settings = [
        f"data.source={homes}", "run.days=0.125", "run.history_days=9", "fl.enabled=false",
    ]  # fmt: skip
    run_config = f'set="{" ".join(settings)}" out="{tmp_path / "run"}"'
    federation = "num-supernodes=3 client-resources-num-cpus=1"
    done = subprocess.run(
        [
            str(BIN / "flwr"), "run", ".", "local", "--stream",
            "--run-config", run_config, "--federation-config", federation,
        ],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        [str(BIN / "flwr"), "list", "local", "--format", "json"],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    [run] = json.loads(listed.stdout)["runs"]
    assert run["status"] == "finished:completed", done.stdout[-3000:]
    out = tmp_path / "simulated"
    out.mkdir()
    simulate(small(homes, "run.days=0.125", "fl.enabled=false", "run.engine=loop"), out)
    assert rows(tmp_path / "run") == rows(out)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["households"] == 3
    assert "</html>" in (tmp_path / "run" / "report.html").read_text()


class Nodes:
    """A grid with so many nodes, for those who only count them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def get_node_ids(self) -> list[int]:
        return list(range(self._count))


def test_households_that_were_set_need_as_many_nodes() -> None:
    """One line names the flag; without the setting every node is a household."""
    asked = from_run_config({"set": "run.households=5"})
    with pytest.raises(InputError, match="num-supernodes=5"):
        flower_app._of_nodes(asked, 2)
    assert flower_app._of_nodes(asked, 6).run.households == 5
    assert flower_app._of_nodes(from_run_config({}), 2).run.households == 2


def test_nobody_there_is_said_in_one_line() -> None:
    """A run that no node joins ends with a line, not for ever."""
    with pytest.raises(InputError, match="no node connected"):
        flower_app._nodes(cast(Grid, Nodes(0)), 0.1)


def test_an_app_holds_what_a_run_needs_and_fits_flower(tmp_path: Path) -> None:
    """``flwr build``: every module and preset, no test; below Flower's limits of count and size."""
    copy = tmp_path / "app"
    ignore = shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignore)
    env = dict(os.environ, FLWR_HOME=str(tmp_path), FLWR_DISABLE_UPDATE_CHECK="1")
    done = subprocess.run(
        [str(BIN / "flwr"), "build"],
        cwd=copy, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [made] = copy.glob("*.fab")
    with zipfile.ZipFile(made) as app:
        sizes = {one.filename: one.file_size for one in app.infolist()}
    packages = ("common", "configs", "fl_client", "fl_server", "simulations")
    needed = {
        file.relative_to(ROOT).as_posix()
        for package in packages
        for file in (ROOT / package).rglob("*")
        if file.suffix in {".py", ".yaml"} and not file.name.startswith("test_")
    }
    assert needed <= sizes.keys()
    assert not any(name.startswith(("tests/", "docs/")) for name in sizes)
    assert "LICENSE" in sizes
    assert len(sizes) < 1_000
    assert max(sizes.values()) < 1_000_000
    assert made.stat().st_size < 10_000_000


def test_the_version_is_the_same_everywhere() -> None:
    """Flower reads it in pyproject.toml, the programs in their own package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == __version__


def test_flower_installs_nothing_beside_the_environment_it_runs_in() -> None:
    """What ``flwr run`` would resolve anew for each run is left out: all the project requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = {re.split(r"[\s\[<>=!~;]", one)[0] for one in project["project"]["dependencies"]}
    assert set(project["tool"]["uv"]["exclude-dependencies"]) == required
