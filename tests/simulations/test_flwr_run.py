"""``flwr run .``: the same apps under Flower's own command, on a SuperLink of this machine."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulations.simulate import simulate
from tests.fl_server.host.test_live import rows
from tests.simulations.conftest import small

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


@pytest.mark.slow
def test_flwr_run_gives_the_ledger_of_fedwatt_simulate(
    environment: dict[str, str], homes: Path, tmp_path: Path
) -> None:
    """The documented command runs to its end, offline, and books what ``fedwatt simulate`` does."""
    settings = [
        f"data.source={homes}", "run.households=3", "run.days=0.125", "run.history_days=9",
        "fl.enabled=false",
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
