"""Where sources put what they hear, from threads of their own, until it is on disk."""

import queue
from collections.abc import Callable
from typing import Any, NamedTuple

from fl_client.home.clock import HouseClock
from fl_client.home.mapping import Channel
from fl_client.home.store import ARRIVAL, OWN, Reading
from fl_client.home.values import Unreadable, pick, said, stamp

_FUTURE_S = 30.0
_ASKED = ("sql", "http", "file")


class Item(NamedTuple):
    """One thing heard. ``done`` is called when it is on disk."""

    reading: Reading | None = None
    cursor: tuple[str, str] | None = None
    state: tuple[str, str] | None = None
    doubt: tuple[str, float, str] | None = None
    done: Callable[[], object] | None = None


class Inbox:
    """Readings, cursors, states of sources and doubts, in the order in which they came."""

    def __init__(self, clock: HouseClock) -> None:
        self.clock = clock
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._ahead: dict[str, float] = {}  # the newest stamp ahead of the clock, by channel

    def hear(
        self,
        channel: Channel,
        message: Any,
        *,
        retained: bool = False,
        scale: float | None = None,
        done: Callable[[], object] | None = None,
    ) -> None:
        """Take a channel's number, and its stamp, out of a message.

        A message without a stamp gets the time of its arrival; a ``retained`` one is then as old as
        nobody knows, and is left out, but for a switch: that is how it stands. ``scale`` [to kWh,
        kW or a fraction] where the mapping does not name the unit.
        """
        now = self.clock.now()
        try:
            value = said(pick(message, channel.field), channel.word)
            if channel.time:
                at, quality = stamp(pick(message, channel.time), channel.zone, now), OWN
            elif retained and channel.role != "switch":
                self._queue.put(Item(done=done))
                return
            else:
                at, quality = now, ARRIVAL
        except Unreadable as error:
            self._queue.put(Item(doubt=(channel.name, now, f"left out: {error}"), done=done))
            return
        factor = channel.scale if scale is None else scale * channel.sign
        self.put(channel, at, value * factor, quality, now=now, done=done)

    def put(
        self,
        channel: Channel,
        at: float,
        value: float,
        quality: str,
        *,
        now: float | None = None,
        done: Callable[[], object] | None = None,
    ) -> None:
        """Take a value in kWh, kW or as a fraction, measured ``at`` [s since 1970].

        Nothing is measured after it was received: a stamp ahead of the clock becomes the arrival.
        """
        now = self.clock.now() if now is None else now
        if at > now + _FUTURE_S and at > self._ahead.get(channel.name, 0.0):
            self._ahead[channel.name] = at
            self.doubt(channel, f"stamps are {at - now:.0f} s ahead: the time of arrival is taken")
        # Who is asked again says it again; a switch of the house is heard whatever it has said.
        again = channel.via in _ASKED and channel.role != "switch"
        ahead = at if at > now and again else None
        reading = Reading(channel.name, min(at, now), now, value, quality, ahead)
        self._queue.put(Item(reading, done=done))

    def doubt(self, channel: Channel, words: str) -> None:
        """Note what is wrong with a channel."""
        self._queue.put(Item(doubt=(channel.name, self.clock.now(), words)))

    def cursor(self, channel: Channel, text: str) -> None:
        """Note how far a source has been read, with what was put before."""
        self._queue.put(Item(cursor=(channel.name, text)))

    def state(self, source: str, words: str) -> None:
        """Note how a source is doing."""
        self._queue.put(Item(state=(source, words)))

    def take(self, timeout_s: float) -> Item | None:
        """The next item, None where none comes in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
