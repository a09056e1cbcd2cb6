"""Whether a battery does what it is told: judged by power and energy at its terminals.

An answer, or a setpoint reported as taken, proves nothing. Pure: times in seconds, powers in kW,
charging positive.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# So many readings in a row that do not fit make a verdict.
_MISSES = 3
_LEAST_KW, _SHARE = 0.15, 0.06
_SLACK_S = 2.0
# A step from what the inverter did by itself may be as large as this.
_LARGEST_KW = 5.0
# What may be missing of the energy commanded in a while, and the while that it takes to judge.
_MISSING_KWH, _MISSING = 0.1, 0.1
_TALLY_S, _LEAST_TALLY_S = 900.0, 120.0


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

    def see(self, at: float, kw: float) -> str:
        """The terminals showed ``kw`` at ``at``: WAITING, FOLLOWS, WEAKER or IGNORES."""
        if at <= self._seen:
            return WAITING
        self._seen = at
        acting = self._acting(at)
        if not acting or math.isnan(acting[0]):
            return WAITING
        low, high = min(acting), max(acting)
        slack = max(_LEAST_KW, _SHARE * max(abs(low), abs(high)))
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
        """Setpoints of which the terminals may show something at ``at``."""
        while len(self._sent) > 1:
            (_, before), (sent_at, kw) = self._sent[0], self._sent[1]
            step = _LARGEST_KW if math.isnan(before) else kw - before
            if sent_at + self._delay.settle_s(step) + _SLACK_S > at:
                break
            self._sent.popleft()
        return [kw for sent_at, kw in self._sent if sent_at <= at]


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
