"""The log of refused calls: who flooded the port must not fill the disk as well."""

import threading
import time
from collections.abc import Callable

from fl_server.host.journal import journal

_LINES_PER_MINUTE = 60


class Refusals:
    """Writes a line for each refused call, though no more than so many a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._minute, self._lines, self._left_out = -1.0, 0, 0

    def tell(self, call: str, why: str, peer: str) -> None:
        """Note one, without its key or content."""
        with self._lock:
            minute = self._clock() // 60
            if minute != self._minute:
                self._minute, self._lines = minute, 0
            if self._lines >= _LINES_PER_MINUTE:
                self._left_out += 1
                return
            self._lines += 1
            left_out, self._left_out = self._left_out, 0
            journal("call refused", call=call, why=why[:200], peer=peer, left_out=left_out)
