"""CPU seconds of one thread by what it does: each second counts once, for what began last."""

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any


class OwnTime:
    """``seconds`` by part; of ``parts`` from the beginning, of others as they come. ``outside``:
    what counts while no part runs, "" for nothing."""

    def __init__(self, parts: Iterable[str] = (), outside: str = "") -> None:
        self.seconds = dict.fromkeys(parts, 0.0)
        self._stack = [outside] if outside else []
        self._mark = time.thread_time()

    def switch(self) -> None:
        """Book what has passed since the last time."""
        now = time.thread_time()
        if self._stack:
            part = self._stack[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._mark
        self._mark = now

    def counted(
        self, part: str | Callable[..., str], function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """``function`` with its time counted as ``part``, or as what that says of its arguments."""

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            self.switch()
            self._stack.append(part if isinstance(part, str) else part(*args, **keywords))
            try:
                return function(*args, **keywords)
            finally:
                self.switch()
                self._stack.pop()

        return call
