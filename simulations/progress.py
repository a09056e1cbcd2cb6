"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
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
