"""Whether a battery does what it is told: judged by power at its terminals and at the meter.

An answer, or a setpoint reported as taken, proves nothing. Pure: times in seconds, powers in kW,
charging positive.
"""

import math
from collections import deque
from dataclasses import dataclass

# So many readings in a row that do not fit make a verdict.
_MISSES = 3
_LEAST_KW, _SHARE = 0.15, 0.06
_SLACK_S = 2.0
# A step from what the inverter did by itself may be as large as this.
_LARGEST_KW = 5.0
# Steps of the battery that must be seen at the meter [kW], and how much of them at least.
_STEP_KW, _STEPS_KW, _SEEN = 0.5, 10.0, 0.3


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
        weaker = all(told * shown >= 0 and abs(shown) < abs(told) for told, shown in last)
        powers = [abs(shown) for _, shown in last]
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


class Witness:
    """Whether the meter sees what the battery says it does.

    Where the battery's power steps, the grid's steps with it, whatever the house does besides.
    """

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = None
        self._stepped = self._shown = 0.0

    def see(self, battery_kw: float, grid_kw: float) -> None:
        """Powers that were measured at the same time."""
        if self._before is not None:
            step, grid = battery_kw - self._before[0], grid_kw - self._before[1]
            if abs(step) >= _STEP_KW:
                self._stepped += abs(step)
                self._shown += grid if step > 0 else -grid
        self._before = (battery_kw, grid_kw)
        if self._stepped > 2 * _STEPS_KW:  # old steps count less and less
            self._stepped, self._shown = self._stepped / 2, self._shown / 2

    def forget(self) -> None:
        """Begin anew."""
        self._before, self._stepped, self._shown = None, 0.0, 0.0

    @property
    def lies(self) -> bool:
        """Whether many steps were told that the meter has not seen."""
        return self._stepped > _STEPS_KW and self._shown < _SEEN * self._stepped
