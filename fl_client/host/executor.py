"""The household's task runner: it has Flower loaded, and answers each message in a fork.

Flower's own runner starts a Python interpreter for each message, which spends a second of CPU on
loading Flower. This one is forked off the SuperNode before that has a thread, so that the two
share what both have loaded, and its own forks have it too.

Nothing else is run here: a ClientApp is the one kind of task it takes, and that is this host's own.
Private: written for one release.
"""

import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from flwr.supercore.constant import TaskType
from flwr.supercore.exit import exit_handler
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult

from common.flower_release import SUPEREXEC
from fl_client.host import clientapp as host
from fl_client.host.client_file import KEEP_LOADED

log = logging.getLogger("fedwatt")
_COMMAND = "flower-superexec"
_AT_ONCE = 4


class Standby:
    """An executor that waits to be told how to reach its SuperNode."""

    def __init__(self, pid: int, orders: int) -> None:
        self.pid = pid
        self._orders = orders

    def start(self, command: Sequence[str]) -> None:
        """Let it begin, with Flower's command line for an executor.

        Raises ValueError for any other command.
        """
        if command[0] != _COMMAND:
            raise ValueError(f"{command[0]}: a household starts {_COMMAND} and nothing else")
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and ``wait`` says so
            os.write(self._orders, json.dumps(list(command)).encode())
        os.close(self._orders)

    def wait(self) -> int:
        """Exit status of the executor, once it has ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def stand_by() -> Standby:
    """Fork an executor off; to be called while this process has one thread."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        return Standby(pid, writer)
    os.close(writer)
    _end_with(_run, reader)


def _run(orders: int) -> None:
    load_for_forks()
    gc.freeze()  # a collection in a fork would copy the pages it shares
    with os.fdopen(orders, "rb") as pipe:
        command = json.loads(pipe.read() or b"[]")
    if not command:  # the SuperNode has ended before it began
        return
    sys.argv = command
    vars(SUPEREXEC.load())["get_executor"] = lambda *_, **__: Forks()
    from flwr.supercore.cli.flower_superexec import flower_superexec

    flower_superexec()


def load_for_forks() -> None:
    """Load what an answer takes, for the forks to have it.

    pandas, torch and the trader's compiled code only where ``client.yaml`` says so: they would be
    200 MB of a small computer's memory for good.
    """
    host.clientapp_module()
    if os.environ.get(KEEP_LOADED):
        for needed in ("fl_client.app", "fl_client.learner", "fl_client.trader.programme"):
            importlib.import_module(needed)


class Forks:
    """Flower's executor interface; each task is a fork of this process."""

    def __init__(self) -> None:
        self._running: set[int] = set()

    def get_eligible_capacity(
        self, supported_task_types: set[TaskType], **_: Any
    ) -> tuple[set[TaskType], set[str]]:
        """ClientApps, a few at once."""
        self.reconcile()
        free = len(self._running) < _AT_ONCE
        return supported_task_types & {TaskType.CLIENT_APP} if free else set(), set()

    def wait_for_capacity(self, *_: Any, **__: Any) -> None:
        """Flower asks for the capacity before it takes a task; there is nothing to wait for."""

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Answer a message in a fork."""
        if spec.task_type != TaskType.CLIENT_APP:
            log.error("%s: not run on a household's host", spec.task_type)
            return LaunchResult.failed("not run on a household's host")
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _end_with(_answer, spec)
        self._running.add(pid)
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Forget the forks that have ended; Flower calls this every time it asks for work."""
        for pid in list(self._running):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            self._running.discard(ended)

    def close(self) -> None:
        """Forks watch their parent, and end with it."""


def _answer(spec: ExecutionSpec) -> None:
    # How the executor ends is not how its fork ends.
    exit_handler.registered_exit_handlers.clear()
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    host.answer(spec)


def _end_with(work: Callable[[Any], None], argument: object) -> NoReturn:
    """End this process with ``work``, without what its parent meant to do at its own end."""
    status = 1
    try:
        work(argument)
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        log.exception("%s", error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
