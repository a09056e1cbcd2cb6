"""Whether a battery does what it is told: judged by power and energy at its terminals.

An answer, or a setpoint reported as taken, proves nothing. Pure: times in seconds, powers in kW,
charging positive.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

# So many readings in a row that do not fit make a verdict.
_MISSES = 3
_LEAST_KW, _SHARE = 0.15, 0.06
_SLACK_S = 2.0
# A step from what the inverter did by itself may be as large as this.
_LARGEST_KW = 5.0
# What may be missing of the energy commanded in a while, and the while that it takes to judge.
_MISSING_KWH, _MISSING = 0.1, 0.1
_TALLY_S, _LEAST_TALLY_S = 900.0, 120.0
# Powers that are told so far apart say nothing of what flowed between.
_APART_S = 120.0


def slack_kw(told_kw: float) -> float:
    """How far a battery that does as it is told may be from ``told_kw``."""
    return max(_LEAST_KW, _SHARE * abs(told_kw))


@dataclass(frozen=True)
class Delay:
    """deadtime_s: until a command acts. ramp_kw_per_s: how fast power follows then."""

    deadtime_s: float
    ramp_kw_per_s: float

    def settle_s(self, step_kw: float) -> float:
        """Until a step has been made."""
        return self.deadtime_s + abs(step_kw) / self.ramp_kw_per_s


WAITING, FOLLOWS, WEAKER, IGNORES = "waiting", "follows", "weaker", "ignores"


class Proof:
    """Commands against what the battery's terminals show."""

    def __init__(self, delay: Delay) -> None:
        self._delay = delay
        # (Time, kW) of the setpoints that may still act, the oldest first. Before the first one
        # the inverter does as it likes: nan.
        self._sent: deque[tuple[float, float]] = deque()
        self._missed: list[tuple[float, float]] = []  # (commanded, shown)
        self._seen = -math.inf

    def begin(self, at: float) -> None:
        """Control takes the battery at ``at``."""
        self._sent = deque([(at, math.nan)])
        self._missed = []

    def sent(self, at: float, kw: float) -> None:
        """A setpoint was sent."""
        self._sent.append((at, kw))

    def commanded(self, at: float) -> bool:
        """Whether the terminals can show nothing but commands at ``at``."""
        return bool(self._acting(at))

    def see(self, at: float, kw: float) -> str:
        """The terminals showed ``kw`` at ``at``: WAITING, FOLLOWS, WEAKER or IGNORES."""
        if at <= self._seen:
            return WAITING
        self._seen = at
        acting = self._acting(at)
        if not acting:
            return WAITING
        low, high = min(acting), max(acting)
        slack = slack_kw(max(abs(low), abs(high)))
        if low - slack <= kw <= high + slack:
            if high - low > slack:  # on its way, perhaps
                return WAITING
            self._missed = []
            return FOLLOWS
        self._missed.append((min(acting, key=lambda one: abs(one - kw)), kw))
        if len(self._missed) < _MISSES:
            return WAITING
        last, self._missed = self._missed, []
        powers = [abs(shown) for _, shown in last]
        weaker = all(told * shown > 0 and abs(shown) < abs(told) for told, shown in last)
        weaker = weaker and min(powers) > _LEAST_KW  # none at all is no obedience
        return WEAKER if weaker and max(powers) - min(powers) <= slack else IGNORES

    def _acting(self, at: float) -> list[float]:
        """Setpoints of which the terminals may show something at ``at``; none while they may still
        show what the inverter did by itself."""
        while len(self._sent) > 1:
            (_, before), (sent_at, kw) = self._sent[0], self._sent[1]
            step = _LARGEST_KW if math.isnan(before) else kw - before
            if sent_at + self._delay.settle_s(step) + _SLACK_S > at:
                break
            self._sent.popleft()
        acting = [kw for sent_at, kw in self._sent if sent_at <= at]
        return [] if acting and math.isnan(acting[0]) else acting


class Tally:
    """Whether the energy counted at the terminals is that of the commands.

    Power that is only claimed is not counted by the battery's registers; where it has none, its
    state of charge tells (``limits.SocWatch``).
    """

    def __init__(self, delay: Delay) -> None:
        self._delay = delay
        self._sent: deque[tuple[float, float]] = deque()  # (acts from, kW)
        self._begun = math.inf

    def begin(self, at: float) -> None:
        """Control takes the battery at ``at``."""
        self._sent.clear()
        self._begun = at + self._delay.settle_s(_LARGEST_KW) + _SLACK_S

    def sent(self, at: float, kw: float) -> None:
        """A setpoint was sent."""
        self._sent.append((at + self._delay.deadtime_s, kw))

    def fails(self, counted_to: float, counted: Callable[[float, float], float]) -> bool:
        """Whether too much is missing of the last quarter of an hour; ``counted``: energy [kWh]
        of the battery between two times."""
        begin = max(self._begun, counted_to - _TALLY_S)
        if counted_to - begin < _LEAST_TALLY_S:
            return False
        while len(self._sent) > 1 and self._sent[1][0] <= begin:
            self._sent.popleft()
        told = total = 0.0
        ends = [*[at for at, _ in self._sent][1:], counted_to]
        for (at, kw), end in zip(self._sent, ends, strict=True):
            kwh = kw * max(min(end, counted_to) - max(at, begin), 0.0) / 3600
            told, total = told + kwh, total + abs(kwh)
        return abs(told - counted(begin, counted_to)) > _MISSING_KWH + _MISSING * total


class MeterTally:
    """Whether the power that the meter tells at the connection is that of its registers.

    Registers are what bills are made of, and what a battery's energy is counted with. A power that
    stands still, or has another sign, would have the battery serve a house that is not there.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[float, float]] = deque()  # (time, kW), the oldest first

    def see(self, at: float, kw: float) -> None:
        """The meter told ``kw`` at ``at``, import positive."""
        if self._told and at <= self._told[-1][0]:
            return
        if self._told and at - self._told[-1][0] > _APART_S:
            self._told.clear()
        self._told.append((at, kw))

    def fails(self, counted_to: float, counted: Callable[[float, float], float]) -> bool:
        """Whether the last quarter of an hour differs by too much; ``counted``: energy [kWh] that
        its registers counted between two times, import positive."""
        while len(self._told) > 1 and self._told[1][0] <= counted_to - _TALLY_S:
            self._told.popleft()
        if not self._told or counted_to - self._told[0][0] < _LEAST_TALLY_S:
            return False
        begin = self._told[0][0]
        told = total = 0.0
        for (at, kw), (until, then) in pairwise(self._told):
            end = min(until, counted_to)
            if end > at:  # it went from one to the other, evenly for all that is known
                kwh = (kw + then) / 2 * (end - at) / 3600
                told, total = told + kwh, total + abs(kwh)
        end = min(self._told[-1][0], counted_to)
        return abs(told - counted(begin, end)) > _MISSING_KWH + _MISSING * total

    def forget(self) -> None:
        """Begin anew."""
        self._told.clear()
