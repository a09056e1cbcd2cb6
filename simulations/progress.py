"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.progress import track as bar

T = TypeVar("T")
_QUIET_S = 10.0


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` and show on standard error how far they have come."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from bar(items, what, total=total, console=Console(stderr=True), transient=True)
        return
    shown = time.monotonic()
    for done, item in enumerate(items):
        yield item
        if time.monotonic() - shown > _QUIET_S:
            shown = time.monotonic()
            of = "" if total is None else f" of {total}"
            print(f"{what}: {done + 1}{of}", file=sys.stderr, flush=True)


class Counter:
    """Progress that someone else counts: call it with (what, done, total)."""

    def __init__(self) -> None:
        self._bar = (
            Progress(console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None
        )
        self._tasks: dict[str, TaskID] = {}
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` (0: unknown) of the work called ``what``."""
        if self._bar is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bar.add_task(what, total=total or None)
            self._bar.update(self._tasks[what], completed=done, total=total or None)
        elif time.monotonic() - self._shown > _QUIET_S:
            self._shown = time.monotonic()
            of = f" of about {total}" if total else ""
            print(f"{what}: {done}{of}", file=sys.stderr, flush=True)
