"""kill -9 of a real coordinator in every phase of a secure sum; households are real processes."""

import json
import os
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import load_file

from common.data.synthetic import names
from common.secure.grid import mean
from common.secure.messages import METRICS
from fl_client.host.client_file import ClientFile
from fl_client.host.folder import init_client, supernode
from fl_server.host.folder import Deployment, Folder, alive
from fl_server.host.setup import admit_household, init_server
from tests.support.ports import free_port
from tests.support.runs import write_homes
from tests.support.secure_spy import FOLDER, LINES
from tests.support.superlink import service, started, wait

ROOT = Path(__file__).parents[3]
NAMES = names(4)
# What a household's file of a session has once it has answered.
PHASES = {"keys": "label", "shares": "sealed", "masked": "partners", "agree": "survivors",
          "unmask": "told"}  # fmt: skip
ROUNDS = len(PHASES) + 1
SETTINGS = (
    f"run.days={ROUNDS / 24}", "run.interval_minutes=60", "run.history_days=9", "fl.every_hours=1",
    "fl.local_steps=1", "fl.secure_aggregation=true", "model.preset=edge", "trader.kind=hold",
    "run.node_deadline_s=600", "run.reply_deadline_s=600",
)  # fmt: skip
LONG_S = 3600.0
Model = dict[str, Any]


def reached(root: Path, round_: int, key: str) -> bool:
    """Whether any household has answered so far in a session of this round."""
    for name in NAMES:
        for file in (root / name / "state" / "secure").glob(f"{round_:08d}-*.json"):
            with suppress(FileNotFoundError):  # a later round's first message deletes it
                if key in json.loads(file.read_text()):
                    return True
    return False


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("victim", ["ServerApp", "SuperLink"])
def test_killed_in_every_phase(victim: str, tmp_path: Path) -> None:
    """Six rounds, a kill in each phase of one, and one undisturbed. Every round is done once or
    left; its model is the mean of the plain words of three households or more in one session, bit
    for bit, or the one before; nobody tells both shares of another household in a round."""
    write_homes(tmp_path / "homes", NAMES)
    data = str(tmp_path / "homes")
    ports = {name: free_port() for name in ("fleet_port", "control_port", "page_port")}
    folder = Folder(tmp_path / "server")
    init_server(folder.root, ["127.0.0.1"], None, SETTINGS, data, len(NAMES), Deployment(**ports))
    patient = {"lead_s": 1.0, "market_deadline_s": 600.0, "closing_deadline_s": 600.0}
    file = folder.server_file
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | patient))
    links = [started(folder)]
    with ExitStack() as stack:
        stack.callback(lambda: links[-1].kill())
        for name in NAMES:
            home_folder = tmp_path / name
            client = ClientFile(
                name, f"{data}/{name}.parquet", f"127.0.0.1:{ports['fleet_port']}",
                port=free_port(), page_port=0, poll_s=0.5, keep_loaded=True,
            )  # fmt: skip
            key = init_client(home_folder, client, folder.tls / "ca.crt")
            admit_household(folder.root, key, name)
            command, env = supernode(home_folder)
            assert command[1:3] == ["-m", "fl_client.host.node"]
            watched = ["-c", "from tests.support.secure_spy import node; node()"]
            env |= {"PYTHONPATH": os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])}
            # Under the keeper, as the household's own daemon.
            keeper = [sys.executable, "-m", "fl_client.host.keeper", command[0], *watched]
            stack.enter_context(service([*keeper, *command[3:]], home_folder / "log.txt", env))
        program = "from simulations.cli import main; main()"
        command = [sys.executable, "-c", program, "server", "run", str(folder.root)]
        log = tmp_path / "run.log"
        run = stack.enter_context(
            service([*command, "--speed", "max", "--no-page"], log, dict(os.environ))
        )
        for round_, (phase, key) in enumerate(PHASES.items(), start=1):
            end = time.monotonic() + LONG_S
            while not reached(tmp_path, round_, key):
                assert time.monotonic() < end, f"{phase} of round {round_}"
                assert run.is_running(), log.read_text()[-2000:]
                time.sleep(0.01)
            if victim == "SuperLink":
                links[-1].kill()
                links[-1].wait()
            else:
                psutil.Process(json.loads(folder.status.read_text())["pid"]).kill()
            print(f"{victim} killed in {phase} of round {round_}", flush=True)
            wait(lambda: not alive(folder), "the end of the ServerApp")
            if victim == "SuperLink":
                links.append(started(folder))
        assert run.wait(timeout=LONG_S) == 0, log.read_text()[-2000:]
    lines = [json.loads(text) for text in (folder.run / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, ROUNDS + 1))
    done = {line["round"] for line in lines if "failed" not in line}
    print("finished rounds", sorted(done), [line["replies"] for line in lines])
    assert {1, ROUNDS} <= done
    starts, sums = spied(tmp_path)
    assert set(starts) == set(range(1, ROUNDS + 1))
    starts[ROUNDS + 1] = load_file(folder.run / "model" / "final.safetensors")
    for round_ in range(1, ROUNDS + 1):
        after = starts[round_ + 1]
        true = sums[round_] if round_ in done else [starts[round_]]
        assert any(same(after, one) for one in true), round_


def spied(root: Path) -> tuple[dict[int, Model], dict[int, list[Model]]]:
    """(model that each round began with, means that would be true sums of it).

    Fails where a household has told both shares of another in a round.
    """
    starts: dict[int, Model] = {}
    plain: dict[tuple[int, str], list[Any]] = defaultdict(list)
    dealt: dict[str, tuple[str, str]] = {}
    told: list[tuple[int, str, str]] = []
    for name in NAMES:
        folder = root / name / "state" / FOLDER
        for file in folder.glob("*.npz"):
            round_, _, session = file.stem.partition("-")
            arrays = dict(np.load(file))
            plain[int(round_), session].append(arrays.pop("words"))
            model = {key.removeprefix("model "): array for key, array in arrays.items()}
            assert same(starts.setdefault(int(round_), model), model)
        for text in (folder / LINES).read_text().splitlines():
            line = json.loads(text)
            dealt |= dict.fromkeys(line.get("shares", ()), (line.get("dealt", ""), name))
            told += [(line["round"], name, share) for share in line.get("told", ())]
    kinds: dict[tuple[int, str, str], set[str]] = defaultdict(set)
    for number, teller, share in told:
        kind, dealer = dealt[share]
        kinds[number, teller, dealer].add(kind)
    assert kinds
    assert all(len(one) == 1 for one in kinds.values())
    shapes = {name: array.shape for name, array in starts[1].items()}
    sums: dict[int, list[Model]] = defaultdict(list)
    for (number, _), words in plain.items():
        for count in range(3, len(words) + 1):
            for chosen in combinations(words, count):
                total = sum(chosen, np.zeros_like(chosen[0]))
                sums[number].append(mean(total, shapes, len(METRICS))[0])
    return starts, sums


def same(one: Model, other: Model) -> bool:
    return set(one) == set(other) and all((one[name] == other[name]).all() for name in one)
