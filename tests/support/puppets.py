"""Households that speak the protocol and nothing else: hundreds of rounds cost as much as one home.

Each remembers what it was told and refuses, with an assertion, to be told otherwise later: that is
what the coordinator owes it. Its meter is a function of its name and the interval.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode

from common.messages import (
    FILLS,
    INTERVAL,
    JOIN,
    Announcement,
    IntervalReply,
    IntervalRequest,
    Join,
    Joined,
    Kept,
    NotJoined,
    not_joined,
)
from simulations.engine.loop import SimulatedGrid, stamp


def drawn(*facts: object) -> int:
    """A number from 0 to 999 that these facts decide."""
    return int.from_bytes(hashlib.sha256(repr(facts).encode()).digest()[:4]) % 1000


def meter(name: str, interval: int) -> tuple[int, int]:
    """Import and export [mWh] of a household in an interval; one of them is 0."""
    energy = 1 + 1000 * drawn(name, interval, "energy")
    return (energy, 0) if drawn(name, interval, "side") < 600 else (0, energy)


class Puppet:
    """One household: its disk (``run`` to ``fills``), and what it must remember beyond that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.prices: dict[int, float] = {}
        self.claims = False
        self.lose_disk()

    def lose_disk(self) -> None:
        """Forget the run, as a computer does whose disk was changed."""
        self.run: str | None = None
        self.newest = -1
        self.fills: dict[int, tuple[int, ...]] = {}

    def answer(self, message: Message) -> Message:
        kind = message.metadata.message_type.rpartition(".")[2]
        try:
            reply = self._ANSWERS[kind](self, message)
        except NotJoined as error:
            return not_joined(error, message)
        return Message(reply.encode(), reply_to=message)

    def join(self, message: Message) -> Joined:
        self.run = Join.decode(message.content).run
        return Joined(self.name, 0, False, "", self.newest)

    def interval(self, message: Message) -> IntervalReply:
        request = IntervalRequest.decode(message.content)
        if self.run != request.run:
            raise NotJoined(f"household {self.name} has not joined this run")
        known = request.signals_from + np.arange(len(request.past_retail))
        self._hear(known.tolist(), request.past_retail.tolist())
        self._hear(range(request.t, request.t + len(request.retail)), request.retail.tolist())
        asked = []
        for s, *fill in request.fills.tolist():
            assert self.fills.setdefault(s, tuple(fill)) == tuple(fill), "another fill than told"
            asked.append((s, *meter(self.name, s)))
        if self.claims:
            asked = [(s, *meter(self.name, s)) for s in range(request.t)]
            self.claims = False
        self.newest = max(self.newest, request.t)
        orders = np.zeros((0, 3), dtype=np.int64)
        if not request.closing:
            side = 1 if drawn(self.name, request.t, "order") < 500 else -1
            price = 200_000 if side > 0 else 100_000
            quantity = 1000 * (1 + drawn(self.name, request.t, "quantity"))
            orders = np.array([(side, quantity, price)], dtype=np.int64)
        return IntervalReply(request.t, np.array(asked, dtype=np.int64).reshape(-1, 3), orders)

    def announced(self, message: Message) -> Kept:
        told = Announcement.decode(message.content)
        if self.run != told.run:
            raise NotJoined(f"household {self.name} has not joined this run")
        kept = self.fills.setdefault(told.t, told.fill)
        assert kept == told.fill, "another fill than told"
        return Kept(True)

    def _hear(self, intervals: Iterable[int], prices: list[float]) -> None:
        for interval, price in zip(intervals, prices, strict=True):
            if not np.isnan(price):
                assert self.prices.setdefault(interval, price) == price, "another price than told"

    _ANSWERS = {JOIN: join, INTERVAL: interval, FILLS: announced}  # noqa: RUF012


class Stage(SimulatedGrid):
    """A grid of puppets. ``nodes``: which puppet a node speaks for; ``away``: names cut off."""

    def __init__(self) -> None:
        super().__init__(1)
        self.nodes: dict[int, Puppet] = {}
        self.away: set[str] = set()
        self._waiting: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return [node for node, puppet in self.nodes.items() if puppet.name not in self.away]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        pushed = {m.metadata.message_id: m for m in map(stamp, messages)}
        self._waiting |= pushed
        return list(pushed)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message_id in [i for i in message_ids if i in self._waiting]:
            message = self._waiting.pop(message_id)
            puppet = self.nodes.get(message.metadata.dst_node_id)
            if puppet is None or puppet.name in self.away:
                reply = Message(Error(code=ErrorCode.NODE_UNAVAILABLE), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = message.metadata.dst_node_id
            else:
                reply = puppet.answer(message)
            yield stamp(reply)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return list(self.pull_messages(self.push_messages(messages)))
