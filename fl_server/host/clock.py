"""The wall clock of a run: when interval t begins, and how long it is until then."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.cadence import HALF_HOUR, Cadence

# A clock that is set while one waits moves the end of the wait.
_NAP_S = 1.0


@dataclass(frozen=True)
class Clock:
    """Interval 0 begins at ``anchor`` (seconds since 1970).

    ``speed`` 1 is real time, 60 makes half an hour 30 seconds. None waits for nobody but the
    households: an interval begins when the one before has been dealt with. ``now`` tells the
    time [s since 1970] and ``sleep`` lets it pass. ``cadence``: how long intervals are.
    """

    anchor: float
    speed: float | None
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    cadence: Cadence = HALF_HOUR

    def begins(self, t: int) -> float:
        """Time at which interval ``t`` begins; -inf without a speed."""
        return (
            -math.inf if self.speed is None else self.anchor + t * self.cadence.seconds / self.speed
        )

    def left(self, t: int) -> float:
        """Seconds until interval ``t`` begins; inf without a speed."""
        return math.inf if self.speed is None else self.begins(t) - self.now()

    def lag(self, t: int) -> float | None:
        """Seconds since interval ``t`` has begun, 0 before; None without a speed."""
        return None if self.speed is None else max(self.now() - self.begins(t), 0.0)

    def current(self, t: int) -> int:
        """The interval that is running now; ``t`` itself without a speed."""
        if self.speed is None:
            return t
        return math.floor((self.now() - self.anchor) * self.speed / self.cadence.seconds)

    def wait(self, t: int) -> None:
        """Sleep until interval ``t`` begins."""
        while (left := self.left(t)) > 0 and math.isfinite(left):
            self.sleep(min(left, _NAP_S))


def next_boundary(lead_s: float, now: float, cadence: Cadence) -> float:
    """The first time at least ``lead_s`` seconds from ``now`` [s since 1970] at which a run may
    begin: a half hour (UTC), which models count in, and a full hour where intervals are hours."""
    step = max(cadence.seconds, HALF_HOUR.seconds)
    return math.ceil((now + lead_s) / step) * step
