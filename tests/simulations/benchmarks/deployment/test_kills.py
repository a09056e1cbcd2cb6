"""What the deployment benchmark kills, when, and that the books are looked at afterwards."""

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from simulations.benchmarks.deployment.kills import below, killed, named
from simulations.processes import service, wait_for

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


def test_each_is_killed_in_turn_and_its_keeper_starts_it_again(tmp_path: Path) -> None:
    """After every second interval one of two kept processes ends by SIGKILL; both are back."""
    status, log = tmp_path / "status.json", tmp_path / "kills.jsonl"
    status.write_text('{"interval": 0}')
    keeper = (sys.executable, "-m", "fl_client.host.keeper")
    with ExitStack() as stack:
        homes = {
            name: stack.enter_context(service([*keeper, *SLEEPS, name], None, tmp_path / name))
            for name in ("one", "two")
        }
        wait_for(lambda: all(below(home) for home in homes.values()), "the homes", 60)
        before = {name: below(home) for name, home in homes.items()}
        assert named(homes["one"], "one") == before["one"]
        assert named(homes["one"], "two") == []
        victims = {name: (lambda home=home: below(home)) for name, home in homes.items()}
        with killed(victims, status, log, every=2, pause_s=0.05):
            time.sleep(0.3)
            assert log.read_text() == ""
            status.write_text('{"interval": 2}')
            wait_for(lambda: not before["one"][0].is_running(), "the first kill", 30)
            assert before["two"][0].is_running()
            status.write_text('{"interval": 5}')
            wait_for(lambda: not before["two"][0].is_running(), "the second kill", 30)
        wait_for(lambda: all(below(home) for home in homes.values()), "the homes again", 60)
        assert all(one not in before["one"] + before["two"] for one in below(homes["one"]))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["interval"], line["killed"], line["of"]) for line in lines] == [
        (2, "one", 1),
        (4, "two", 1),
    ]
    assert not any(psutil.pid_exists(one.pid) for home in homes.values() for one in below(home))
