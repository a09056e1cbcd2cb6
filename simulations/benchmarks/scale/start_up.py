"""Where the CPU seconds of a short command go: imports by package, and the parts of a run.

``python -m simulations.benchmarks.scale.start_up simulate --households 10 --days 0.1`` runs the
command of ``fedwatt`` in a process of its own and prints the table. Caches should be warm: the
second time counts.
"""

import functools
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from simulations.benchmarks.scale.own_time import OwnTime

PARTS: Final = {
    "simulations.preflight": ("preflight", "checks before the run"),
    "fl_server.start": ("gather", "households join"),
    "fl_server.rounds": ("Rounds.broadcast", "the first model, kept and measured"),
    "fl_server.coordinator": ("Coordinator.interval", "intervals"),
    "simulations.summary": ("summarise", "summary and references"),
    "simulations.report.report": ("write_report", "report"),
}
"""Functions whose time is told, what they import left out; by module."""
_LEAST_S = 0.05
_TOLD = "--told"


class Account(OwnTime):
    """CPU seconds of the main thread, from Python's start on."""

    def __init__(self) -> None:
        super().__init__(outside="the rest")
        self.seconds["python"] = time.process_time()

    def counted(
        self, part: str | Callable[..., str], function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """As ``OwnTime``; other threads go uncounted."""
        counted = super().counted(part, function)

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            main = threading.current_thread() is threading.main_thread()
            return (counted if main else function)(*args, **keywords)

        return call


def measure(told: Path) -> None:
    """Run the command line of this process, and write down what it took."""
    account = Account()
    of_source = SourceFileLoader.exec_module

    def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
        of_source(loader, module)
        if module.__name__ in PARTS:
            path, part = PARTS[module.__name__]
            *owner, name = path.split(".")
            of = getattr(module, owner[0]) if owner else module
            setattr(of, name, account.counted(part, getattr(of, name)))

    for loader, name, function in (
        (SourceFileLoader, "exec_module", exec_module),
        (ExtensionFileLoader, "create_module", ExtensionFileLoader.create_module),
        (ExtensionFileLoader, "exec_module", ExtensionFileLoader.exec_module),
    ):
        setattr(loader, name, account.counted(_package, function))
    from simulations.cli import main

    try:
        main()
    finally:
        account.switch()
        others = time.process_time() - sum(account.seconds.values())
        told.write_text(json.dumps({**account.seconds, "other threads": max(others, 0.0)}))


def _package(_: object, of: Any) -> str:
    """What a loader is asked for: a module, or its specification."""
    name: str = of.name if isinstance(of, ModuleSpec) else of.__name__
    return f"import {name.partition('.')[0]}"


def report(arguments: Sequence[str]) -> int:
    """Measure a command of ``fedwatt``, and print its CPU seconds; returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        before = _children_s()
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, _TOLD, str(told), *arguments], check=False
        )
        total = _children_s() - before
        seconds: dict[str, float] = json.loads(told.read_text())
    seconds["exit"] = total - sum(seconds.values())
    few = [n for n, s in seconds.items() if n.startswith("import ") and s < _LEAST_S]
    seconds["import: all others"] = sum(seconds.pop(name) for name in few)
    for name, spent in sorted(seconds.items(), key=lambda pair: -pair[1]):
        print(f"{spent:7.2f}  {name}")
    print(f"{total:7.2f}  CPU seconds in all")
    return done.returncode


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    if sys.argv[1:2] == [_TOLD]:
        file = Path(sys.argv[2])
        del sys.argv[1:3]
        measure(file)
    else:
        sys.exit(report(sys.argv[1:]))
