"""What keeps a household's processes running."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fl_client.host.keeper import split
from tests.support.signals import as_at_a_terminal


def _wait(happened, seconds=20.0):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_commands_are_told_apart():
    """One command as ever; several with --and between them."""
    assert split(["a", "-b"]) == [["a", "-b"]]
    assert split(["a", "--and", "b", "c"]) == [["a"], ["b", "c"]]


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_dies_is_started_again_and_harms_no_other(tmp_path, told):
    """Of two that are kept one is killed: it comes back, the other never notices; both end with
    the keeper, which is told to stop or whose terminal is closed."""
    write = (
        "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
    )
    commands = [[sys.executable, "-c", write, str(tmp_path / name)] for name in "ab"]
    keeper = subprocess.Popen(
        [sys.executable, "-m", "fl_client.host.keeper", *commands[0], "--and", *commands[1]],
        preexec_fn=as_at_a_terminal,
    )
    pids = {}

    def lines(name):
        file = tmp_path / name
        pids[name] = [int(x) for x in file.read_text().split()] if file.exists() else []
        return len(pids[name])

    try:
        _wait(lambda: lines("a") == 1 and lines("b") == 1)
        os.kill(pids["b"][0], signal.SIGKILL)
        _wait(lambda: lines("b") == 2)
        assert lines("a") == 1
    finally:
        keeper.send_signal(told)
        assert keeper.wait(10) == 0
    for pid in (pids["a"][0], pids["b"][1]):
        _wait(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
