"""Ray under a simulation: no stranger gets in, a loss is an error, and it goes when it is told."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import simulations
from common.errors import InputError, RunError
from common.messages import JOIN
from simulations.engine import batched
from simulations.engine.block import Block
from simulations.engine.local_ray import import_ray
from simulations.simulate import simulate
from tests.support.runs import small

SERVER = """
import sys
from simulations.engine import batched
from simulations.engine.local_ray import import_ray
ray = import_ray()
batched._start_ray(ray, 1, None)
print(ray.get_runtime_context().gcs_address, flush=True)
print(ray.get(ray.remote(lambda: "served").remote()), flush=True)
sys.stdin.read()
"""
STRANGER = """
import sys, ray
ray.init(address=sys.argv[1], logging_level="CRITICAL")
print(ray.get(ray.remote(lambda: "ran").remote(), timeout=20), flush=True)
"""


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_stranger_runs_nothing(token: str | None) -> None:
    """Without the run's token, or with another, Ray refuses; the run's own work goes on."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    mine = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=env,
    )  # fmt: skip
    try:
        assert mine.stdout is not None
        address = mine.stdout.readline().strip()
        assert mine.stdout.readline().strip() == "served"
        if token is not None:
            env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        stranger = subprocess.run(
            [sys.executable, "-c", STRANGER, address], capture_output=True, text=True, env=env,
            timeout=120, check=False,
        )  # fmt: skip
        assert stranger.returncode != 0
        assert "ran" not in stranger.stdout.split()
        assert "InvalidAuthToken" in stranger.stderr
    finally:
        mine.communicate()


def test_ray_has_one_door() -> None:
    """Nothing but ``import_ray`` brings Ray in: only there is it sure that it reads a token."""
    root = Path(simulations.__file__).parents[1]
    imports = r"^\s*(import ray\b|from ray\b)|import_module\(.?ray\b"
    doors = {
        file.relative_to(root).as_posix()
        for package in ("common", "fl_client", "fl_server", "simulations")
        for file in (root / package).rglob("*.py")
        if re.search(imports, file.read_text(), re.M)
    }
    assert doors == {"simulations/engine/local_ray.py"}


def test_ray_without_a_token_is_not_taken() -> None:
    """Where somebody imported Ray before, the run refuses to start one that anybody could use."""
    program = "import ray\nfrom simulations.engine.local_ray import import_ray\nimport_ray()"
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=False
    )
    assert ran.stderr.splitlines()[-1].startswith(
        "common.errors.RunError: Ray was imported before the run, without a token"
    )


def test_the_benchmarks_start_ray_by_themselves(tmp_path: Path) -> None:
    """From a shell that knows no token, `benchmark scale` runs actors and measures their parts."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    words = ["--households", "2", "--days", "0.0625", "--engines", "batched"]
    words += ["--set", "run.actors=1", "--set", "fl.enabled=false"]
    program = "from simulations.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "benchmark", "scale", *words, "--out", str(tmp_path / "o")],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-500:]
    [found] = json.loads((tmp_path / "o" / "results.json").read_text())["runs"]
    assert all(found["cpu"][part] > 0 for part in ("data", "plan", "settle", "clear", "ledger"))


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "nowhere.invalid:6379"]
)
def test_a_cluster_that_is_not_there_is_one_line(address: str, homes: Path, tmp_path: Path) -> None:
    """Ray would ask for minutes: whoever gives a dead address is told so at once."""
    import_ray()  # with a token: whoever asks a cluster needs none, and later tests start their own
    settings = small(homes, f"run.ray_address='{address}'", engine="batched")
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"--ray-address .*: nobody answers there"):
        simulate(settings, tmp_path)
    assert time.monotonic() - begin < 30


class Dying(Block):
    """A block whose process dies whenever interval 3 comes."""

    def _answers(self, messages, kind):  # type: ignore[no-untyped-def]
        if messages[0].metadata.group_id == "3" and kind.endswith(JOIN) is False:
            os._exit(1)
        return super()._answers(messages, kind)


def test_an_actor_beyond_repair_ends_the_run_before_anything_is_booked(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray restarts it and it is asked again; when that has failed as often as may be, nothing of
    the interval is written."""
    monkeypatch.setattr(batched, "_RETRIES", 1)
    out = tmp_path / "run"
    out.mkdir()
    settings = small(homes, "fl.enabled=false", "run.actors=2", engine="batched")
    with pytest.raises(RunError, match=r"processes .* were lost"):
        simulate(settings, out, block=Dying)
    assert (out / "intervals.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize(("engine", "status"), [("batched", 130), ("flower", 143)])
def test_sigterm_ends_a_run_and_its_processes(
    engine: str, status: int, homes: Path, tmp_path: Path
) -> None:
    """No stack trace, and none of its processes is left."""
    out = tmp_path / "run"
    words = ["--data", str(homes), "--engine", engine, "--out", str(out)]
    for pair in (
        "run.households=3", "run.history_days=9", "run.days=1", "run.actors=2", "fl.enabled=false",
    ):  # fmt: skip
        words += ["--set", pair]
    program = "from simulations.cli import main; main()"
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    run = subprocess.Popen(
        [sys.executable, "-c", program, "simulate", *words], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    lines = out / "intervals.jsonl"
    while not lines.exists() or lines.read_bytes().count(b"\n") < 3:
        assert run.poll() is None, run.communicate()[0][-2000:]
        time.sleep(0.05)
    children = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == status
    assert "***" not in said
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive
