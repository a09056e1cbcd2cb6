"""The household's long-lived process: listens to its meters and writes what they say.

Kept by the keeper beside the ClientApp, which is asked every half hour and forks: nothing that
listens can live there. They meet in the store alone, so that one may end without harm to the other.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from common.errors import InputError
from fl_client.home.asked import asked
from fl_client.home.clock import HouseClock
from fl_client.home.deriving import derive
from fl_client.home.inbox import Inbox, Item
from fl_client.home.mapping import BATTERY_ROLES, MAPPING, Channel, read_mapping
from fl_client.home.sources import open_sources
from fl_client.home.sources.homeassistant import Refused
from fl_client.home.sources.source import Source
from fl_client.home.store import STORE, Store

_log = logging.getLogger(__name__)

# Written to disk together: what comes within so long, or so many messages. The broker keeps what is
# not acknowledged, 20 messages of it at a time.
_TOGETHER_S = 5.0
_STEERED_S = 1.0
_TOGETHER = 16
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_REFUSED_PAUSE_S = 300.0
_DAY_S = 86400.0
# Every reading is kept for so long, so that late ones can still be placed between others.
KEEP_DAYS = 14
_KEEP_POWER_S = 3600.0
_SHORT = ("power", *BATTERY_ROLES)


class Busy(InputError):
    """Another process does this for the household."""


class Meters:
    """The meters of the household in folder ``home``, and ``battery``, what its control reads
    besides. Raises InputError, Busy.

    ``minutes``: the interval that energies are written for, beside what a run asks for.
    ``secrets``: of secret.env.
    """

    def __init__(
        self,
        home: Path,
        household: str,
        secrets: Mapping[str, str],
        *,
        minutes: int = 30,
        clock: HouseClock | None = None,
        battery: Sequence[Channel] = (),
    ) -> None:
        self.channels = [*read_mapping(home / MAPPING), *battery]
        # Who steers by what is said cannot wait for more of it.
        self._together_s = _STEERED_S if battery else _TOGETHER_S
        self.clock = clock or HouseClock()
        self._home, self._lengths = home, {minutes}
        self._lock = Lock(home / "meters.lock", "its meters are being read by another process")
        self.store = Store(home / STORE, write=True)
        self._inbox = Inbox(self.clock)
        self._stop = threading.Event()
        self._sources = open_sources(self.channels, secrets, self.store.cursor, household)
        self._threads: list[threading.Thread] = []
        self._pruned = -1.0

    def start(self) -> None:
        """Begin to listen."""
        for source in self._sources:
            thread = threading.Thread(target=self._keep, args=(source,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Stop listening, write what has come, let others write."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._write(list(self._waiting(0.0)))
        self.store.close()
        self._lock.close()

    def step(self, timeout_s: float = _TOGETHER_S) -> list[int]:
        """Wait for what comes, write it, and say for which intervals [s since 1970] it was news."""
        together_s = min(timeout_s, max(self.clock.wall(self._together_s), 0.1))
        new = self._write(list(self._waiting(together_s)))
        now = self.clock.now()
        if now - self._pruned > _DAY_S / 24:
            self._prune(now)
        return new

    def _waiting(self, together_s: float) -> Iterator[Item]:
        end = time.monotonic() + together_s
        count = 0
        while True:
            item = self._inbox.take(max(end - time.monotonic(), 0.0))
            if item is None:
                return
            yield item
            count += item.done is not None
            if count >= _TOGETHER or time.monotonic() > end:
                return

    def _write(self, items: Sequence[Item]) -> list[int]:
        """Keep everything in one commit, acknowledge it, and derive what it means for intervals."""
        if not items:
            return []
        readings = [item.reading for item in items if item.reading is not None]
        cursors = [item.cursor for item in items if item.cursor is not None]
        now = self.clock.now()
        new = self.store.put(readings, cursors)
        for item in items:
            if item.doubt is not None:
                self.store.doubt(*item.doubt)
            if item.state is not None:
                self.store.set_state(*item.state, now)
                _log.info("%s: %s", *item.state)
            if item.done is not None:
                item.done()
        starts = set(self._hear(now))
        for minutes in sorted(self._lengths):
            starts.update(derive(self.store, self.channels, minutes, new, now))
        return sorted(starts)

    def _hear(self, now: float) -> list[int]:
        """Take up the intervals of a run that are shorter than those kept so far, from the oldest
        reading there is."""
        minutes = asked(self._home).minutes
        if minutes in self._lengths or minutes > max(self._lengths):
            return []
        self._lengths.add(minutes)
        oldest = now - KEEP_DAYS * _DAY_S
        every = {channel.name: oldest for channel in self.channels}
        return derive(self.store, self.channels, minutes, every, now)

    def _prune(self, now: float) -> None:
        self._pruned = now
        for one in self.channels:
            kept = _KEEP_POWER_S if one.role in _SHORT else KEEP_DAYS * _DAY_S
            # A switch of the house that was told once holds until it is told again.
            self.store.forget(one.name, now - kept, newest=one.role != "switch")

    def _keep(self, source: Source) -> None:
        """Run a source again and again, less and less often."""
        pause = _FIRST_PAUSE_S
        while not self._stop.is_set():
            begin = time.monotonic()
            try:
                source.run(self._inbox, self._stop)
            except (OSError, InputError) as error:
                self._inbox.state(source.name, " ".join(str(error).split()))
                if isinstance(error, Refused):
                    pause = _REFUSED_PAUSE_S
            except Exception as error:
                # A source that breaks must not take the others with it.
                _log.exception("%s", source.name)
                self._inbox.state(source.name, f"broke: {type(error).__name__}: {error}")
            if time.monotonic() - begin > _LONGEST_PAUSE_S:
                pause = _FIRST_PAUSE_S
            self._stop.wait(max(self.clock.wall(pause), 0.05))
            pause = min(2 * pause, _LONGEST_PAUSE_S) if pause < _REFUSED_PAUSE_S else pause


class Lock:
    """A file that one process at a time holds; it is free when that ends, however it ends.

    Raises Busy, with ``words``, where another holds it.
    """

    def __init__(self, path: Path, words: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise Busy(f"{path.parent}: {words}") from None

    def pass_on(self, words: str) -> None:
        """Hold it in the program too that this process becomes, and write ``words`` into it."""
        os.set_inheritable(self._file, True)
        os.ftruncate(self._file, 0)
        os.write(self._file, words.encode())

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._file)


def run(meters: Meters, stopped: Callable[[], bool]) -> None:
    """Listen until ``stopped``."""
    meters.start()
    with contextlib.closing(meters):
        while not stopped():
            meters.step()
