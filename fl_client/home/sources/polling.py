"""Sources that are asked again and again: databases, files, HTTP."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel
from fl_client.home.sources.source import Cursor

# A row may be corrected later: now and then the last day is asked for again.
_AGAIN_S = 86400.0
_AGAIN_EVERY_S = 600.0
_OVERLAP_S = 300.0


def poll(
    channels: Sequence[Channel], inbox: Inbox, stop: threading.Event,
    ask: Callable[[Channel], None],
) -> None:  # fmt: skip
    """Call ``ask`` for every channel at its own pace until ``stop`` is set."""
    due = {one.name: 0.0 for one in channels}
    while not stop.is_set():
        now = time.monotonic()
        for one in channels:
            if due[one.name] <= now:
                ask(one)
                due[one.name] = now + max(inbox.clock.wall(one.every_s), 0.05)
        stop.wait(max(min(due.values()) - time.monotonic(), 0.05))


class Since:
    """From when on rows are asked for: a little before the newest, now and then a day before."""

    def __init__(self, channels: Iterable[Channel], cursor: Cursor) -> None:
        self._newest = {one.name: float(cursor(one.name) or 0.0) for one in channels}
        self._again = dict.fromkeys(self._newest, 0.0)

    def time(self, channel: Channel) -> float:
        """Seconds since 1970 of the earliest row wanted; 0: all."""
        newest, now = self._newest[channel.name], time.monotonic()
        back = _OVERLAP_S
        if now >= self._again[channel.name]:
            self._again[channel.name] = now + _AGAIN_EVERY_S
            back = _AGAIN_S
        return max(newest - back, 0.0)

    def seen(self, channel: Channel, newest: float, inbox: Inbox) -> None:
        """Rows have been read up to ``newest`` [s since 1970]; up to now, whatever is stamped
        ahead: what comes then is stamped earlier."""
        newest = min(newest, inbox.clock.now())
        if newest > self._newest[channel.name]:
            self._newest[channel.name] = newest
            inbox.cursor(channel, repr(newest))
