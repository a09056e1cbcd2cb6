"""The household's task runner: what it takes, what it refuses, how its forks end."""

import importlib
import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.exit import exit_handler
from flwr.supercore.superexec.executor.types import ExecutionSpec

from common.processes import environment
from fl_client.host import clientapp as host
from fl_client.host import executor
from fl_client.host.client_file import KEEP_LOADED
from fl_client.host.executor import Forks, Standby


def spec(kind: TaskType = TaskType.CLIENT_APP, token: str = "t") -> ExecutionSpec:
    return ExecutionSpec(
        task_type=kind,
        runtime_api_address="127.0.0.1:1",
        token=token,
        insecure=True,
        root_certificates_path=None,
        runtime_dependency_install=False,
        parent_pid=os.getpid(),
        suppress_output=False,
        task_id=1,
        fab_hash=None,
    )


def ended(forks: Forks) -> None:
    """Wait until all have ended."""
    end = time.monotonic() + 30
    while forks._running and time.monotonic() < end:
        forks.reconcile()
        time.sleep(0.01)
    assert not forks._running


def test_a_household_runs_no_code_but_its_own() -> None:
    """Its task runner asks for messages to its ClientApp alone, and starts nothing else."""
    forks = Forks()
    everything = set(TaskType)
    assert forks.get_eligible_capacity(everything) == ({TaskType.CLIENT_APP}, set())
    for kind in everything - {TaskType.CLIENT_APP}:
        assert "not run on a household" in str(forks.launch(spec(kind)).message)
        assert not forks._running
    with pytest.raises(ValueError, match="nothing else"):
        Standby(0, 0).start(["flwr-serverapp", "--token", "x"])


def test_each_message_is_answered_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the token it was given, and without what the runner meant to do at its own end."""
    mine = tmp_path / "runner's own end"
    monkeypatch.setattr(exit_handler, "registered_exit_handlers", [])
    exit_handler.add_exit_handler(mine.touch)

    def answer(task: ExecutionSpec) -> None:
        left = len(exit_handler.registered_exit_handlers)
        (tmp_path / task.token).write_text(f"{os.getpid()} {left}")
        raise SystemExit(0)

    monkeypatch.setattr(host, "answer", answer)
    forks = Forks()
    for token in ("a", "b"):
        forks.launch(spec(token=token))
    ended(forks)
    found = [(tmp_path / token).read_text().split() for token in ("a", "b")]
    assert len({pid for pid, _ in found} | {str(os.getpid())}) == 3
    assert {left for _, left in found} == {"0"}
    assert not mine.exists()


_KEPT = """
import sys, time
from types import SimpleNamespace
from flwr.supercore.constant import TaskType
from fl_client.host import executor
def answer(task):
    print(*sorted({"torch", "pandas", "fl_client.app"} & set(sys.modules)), flush=True)
    sys.exit()
executor.host.answer = answer
executor.load_for_forks()
forks = executor.Forks()
forks.launch(SimpleNamespace(task_type=TaskType.CLIENT_APP))
while forks._running:
    forks.reconcile()
    time.sleep(0.01)
"""


@pytest.mark.parametrize("kept", [False, True])
def test_an_answer_finds_loaded_what_the_household_keeps_loaded(tmp_path: Path, kept: bool) -> None:
    """pandas, torch and the app are there in the fork where the household's file says so."""
    env = environment(tmp_path, {KEEP_LOADED: "1"} if kept else {})
    command = [sys.executable, "-c", _KEPT]
    found = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
    assert found.stdout.split() == (["fl_client.app", "pandas", "torch"] if kept else [])


def test_no_more_than_a_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of messages waits at the SuperNode, not in this computer's memory."""
    gate = tmp_path / "gate"

    def answer(_: ExecutionSpec) -> None:
        while not gate.exists():
            time.sleep(0.01)

    monkeypatch.setattr(host, "answer", answer)
    forks = Forks()
    for _ in range(executor._AT_ONCE):
        assert forks.get_eligible_capacity({TaskType.CLIENT_APP})[0]
        forks.launch(spec())
    assert forks.get_eligible_capacity({TaskType.CLIENT_APP}) == (set(), set())
    gate.touch()
    ended(forks)
    assert forks.get_eligible_capacity({TaskType.CLIENT_APP})[0]


_AT_THE_FORK = """
import os, sys
from fl_client.host import node
def fork():
    print(len(os.listdir("/proc/self/task")))
    sys.exit()
node.stand_by = fork
sys.argv = ["node", "3.0"]
node.main()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads by /proc")
def test_a_supernode_has_one_thread_when_its_executor_is_forked_off(tmp_path: Path) -> None:
    """In the environment a household is started with: the fork inherits nobody else's lock."""
    command = [sys.executable, "-c", _AT_THE_FORK]
    found = subprocess.run(command, env=environment(tmp_path), capture_output=True, check=True)
    assert found.stdout.split() == [b"1"]


def test_the_pinned_flower_has_what_is_replaced() -> None:
    """Its executor is made by one function, and a SuperNode starts one command."""
    runner = importlib.import_module("flwr.supercore.superexec.run_superexec")
    source = inspect.getsource(runner.run_superexec)
    assert "executor = get_executor(" in source
    assert "executor.reconcile()" in source
    loop = importlib.import_module("flwr.supernode.start_client_internal")
    source = inspect.getsource(loop.start_client_internal)
    assert source.count("subprocess.Popen(") == 1
    assert f'command = ["{executor._COMMAND}"]' in source
