"""What must not take a coordinator, or a household, out of service."""

import importlib
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from fl_server.host.endurance import wait_for_locks
from fl_server.host.folder import Deployment, Folder
from fl_server.host.setup import init_server
from tests.support.ports import free_port
from tests.support.superlink import started

PATIENCE_S = 60.0


def _executor(process: "subprocess.Popen[bytes]", not_pid: int = 0) -> psutil.Process:
    """The SuperLink's executor, once it is there."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.pid != not_pid and any("flower-superexec" in word for word in child.cmdline()):
                return child
        time.sleep(0.2)
    raise AssertionError("no executor")


@pytest.mark.slow
def test_a_dead_executor_is_started_again(tmp_path: Path) -> None:
    """Killed, it is back in seconds, and the log says so: runs can start, nobody has to look."""
    folder = Folder(tmp_path / "server")
    ports = {"fleet_port": free_port(), "control_port": free_port(), "page_port": free_port()}
    flat = ["tariff.source=flat"]
    init_server(folder.root, ["127.0.0.1"], None, flat, None, 1, Deployment(**ports))
    process = started(folder)
    try:
        first = _executor(process)
        first.kill()
        second = _executor(process, not_pid=first.pid)
        assert second.is_running()
        assert "executor started again" in (folder.log / "link.jsonl").read_text()
    finally:
        process.terminate()
        process.wait(timeout=30)
    # A SuperLink that is told to stop does not start it again.
    psutil.wait_procs([second], timeout=10)
    assert not second.is_running()


def test_a_busy_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SuperLink's connection waits a minute for a lock, where Flower's own gives up after 5 s."""
    mixin = importlib.import_module("flwr.supercore.sql_mixin")
    monkeypatch.setattr(mixin, "SQLITE_PRAGMAS", mixin.SQLITE_PRAGMAS)
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        mixin._set_sqlite_pragmas(db, None)
        assert db.execute("PRAGMA busy_timeout").fetchone() == (5_000,)
        wait_for_locks()
        mixin._set_sqlite_pragmas(db, None)
        assert db.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


_SUPERNODE = """
import os, signal, time
from fl_client.host.executor import stand_by
from fl_client.host.node import pace
standby = stand_by()
os.kill(standby.pid, signal.SIGKILL)
pace(3.0, standby)
from flwr.supernode import start_client_internal
start_client_internal.subprocess.Popen(["flower-superexec"])
time.sleep(60)
"""


def test_a_household_without_executor_is_not_kept_running() -> None:
    """It ends, and says why; its keeper starts it anew with an executor."""
    command = [sys.executable, "-c", _SUPERNODE]
    found = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert found.returncode == 1
    assert "the executor ended with status -9" in found.stderr
