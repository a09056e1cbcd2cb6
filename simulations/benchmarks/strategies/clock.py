"""The simulated clock: whose update arrives when, by the speeds that the dials draw.

An update arrives once the model has come down the home's line, every training step is done, and
what it sends has gone up. A synchronous round waits for the slowest, or ends as the dial says; an
asynchronous strategy goes on with whoever is next. Training is done for real and takes no real time
of this clock; what is sent for measuring does not count.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from common.messages import CONFIG
from common.model_messages import DITTO_STEPS, HEAD_STEPS, LOCAL_STEPS, ROUND
from fl_server.passing_grid import PassingGrid
from simulations.benchmarks.strategies.dials import Dial


@dataclass(frozen=True)
class _Job:
    """A training that a home has been sent: who does it, and when the model has reached it [s]."""

    node: int
    name: str
    message: Message
    reached_s: float


class _Arrival(NamedTuple):
    """Sorts by time, and those of one time by name."""

    at_s: float
    name: str
    message_id: str
    reply: Message


class ClockGrid(PassingGrid):
    """Hands on replies when it is their time; ``now_s`` is the clock, from 0.

    ``names`` of the homes by node; ``steps`` of a training, where the strategy says nothing else.
    ``rush``: each pull ends with the next arrival, which is when an asynchronous strategy acts.
    ``late_bytes``: of updates that arrived when their round was over.
    """

    def __init__(
        self,
        grid: Grid,
        dial: Dial,
        seed: int,
        names: Mapping[int, str],
        steps: int,
        *,
        rush: bool,
    ) -> None:
        super().__init__(grid)
        self._dial, self._seed, self._names, self._steps = dial, seed, names, steps
        self._rush = rush
        self.now_s = 0.0
        self.late_bytes = 0
        self._arrivals: dict[str, _Arrival] = {}
        self._waiting: dict[str, _Job] = {}
        self._free_s: dict[int, float] = {}
        self._end_s = math.inf
        self._expected = 0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages; with those that ask for training a round begins."""
        every = list(messages)
        ids = list(self._grid.push_messages(every))
        jobs = {
            message_id: self._job(message)
            for message_id, message in zip(ids, every, strict=True)
            if message.metadata.message_type == MessageType.TRAIN
        }
        if jobs or not every:
            self._open(jobs)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that arrive next; none once the round is over."""
        wanted = set(message_ids)
        timed = {one for one in wanted if one in self._arrivals or one in self._waiting}
        yield from self._grid.pull_messages(wanted - timed)
        if self._expected <= 0:
            return
        self._begin_waiting(timed)
        due = sorted(self._arrivals[one] for one in timed if one in self._arrivals)
        if not due or due[0].at_s > self._end_s:
            self.now_s = max(self.now_s, self._end_s) if math.isfinite(self._end_s) else self.now_s
            self._expected = 0
            return
        self.now_s = max(self.now_s, due[0].at_s)
        for arrival in due:
            if arrival.at_s > self.now_s:
                break
            del self._arrivals[arrival.message_id]
            self._expected -= 1
            yield arrival.reply

    def _open(self, jobs: Mapping[str, _Job]) -> None:
        """Begin a round: what has arrived since the last one is too late, and what nobody has begun
        to work on is withdrawn, unless it is waited for in any round."""
        if not self._rush:
            for one in [a for a in self._arrivals.values() if a.at_s <= self.now_s]:
                self.late_bytes += size(one.reply)
                del self._arrivals[one.message_id]
            self._waiting = {}
        self._waiting |= jobs
        dial = self._dial
        self._end_s = math.inf if dial.round_s is None or self._rush else self.now_s + dial.round_s
        self._expected = 1 if self._rush else math.ceil(dial.wait_share * len(jobs) - 1e-9)

    def _job(self, message: Message) -> _Job:
        node = message.metadata.dst_node_id
        job = _Job(node, self._names[node], message, self.now_s)
        down_s = size(message) / self._dial.line_bytes_per_s(*self._key(job))
        return _Job(node, job.name, message, self.now_s + down_s)

    def _key(self, job: _Job) -> tuple[int, str, int]:
        """What a home's speed depends on."""
        round_ = job.message.content.config_records[CONFIG][ROUND]
        return self._seed, job.name, _number(round_)

    def _begin_waiting(self, timed: Iterable[str]) -> None:
        """Do the work that homes come to before the next arrival: it may arrive sooner still."""
        timed = set(timed)
        while True:
            first = min(
                (self._arrivals[one].at_s for one in timed if one in self._arrivals),
                default=math.inf,
            )
            ready = sorted(self._ready(min(first, self._end_s)))
            if not ready:
                return
            begin_s, _, message_id = ready[0]
            self._work(message_id, begin_s)

    def _ready(self, until_s: float) -> Iterator[tuple[float, str, str]]:
        """(when it begins, home, message) of the work that begins in time. A home does one training
        after the other."""
        for message_id, job in self._waiting.items():
            begin_s = max(job.reached_s, self._free_s.get(job.node, 0.0))
            if begin_s <= until_s:
                yield begin_s, job.name, message_id

    def _work(self, message_id: str, begin_s: float) -> None:
        job = self._waiting.pop(message_id)
        config = job.message.content.config_records[CONFIG]
        asked = ((LOCAL_STEPS, self._steps), (HEAD_STEPS, 0), (DITTO_STEPS, 0))
        steps = sum(_number(config.get(key, usual)) for key, usual in asked)
        done_s = begin_s + steps * self._dial.step_seconds(*self._key(job))
        self._free_s[job.node] = done_s
        [reply] = self._grid.pull_messages([message_id])
        up_s = size(reply) / self._dial.line_bytes_per_s(*self._key(job))
        self._arrivals[message_id] = _Arrival(done_s + up_s, job.name, message_id, reply)


def _number(value: object) -> int:
    """A whole number of a config record, which may hold others."""
    assert isinstance(value, int | float)
    return int(value)


def size(message: Message) -> int:
    """Bytes of a message's arrays; 0 where it is an error."""
    if message.has_error():
        return 0
    return sum(
        len(array.data)
        for record in message.content.array_records.values()
        for array in record.values()
    )
