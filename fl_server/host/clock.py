"""The wall clock of a run: when interval t begins, and how long a round may take."""

import math
import time
from dataclasses import dataclass

from common.data.frame import INTERVAL

INTERVAL_S = INTERVAL.total_seconds()


@dataclass(frozen=True)
class Clock:
    """Interval 0 begins at ``anchor`` (seconds since 1970).

    ``speed`` 1 is real time, 60 makes half an hour 30 seconds. None waits for nobody but the
    households: an interval begins when the one before has been dealt with.
    """

    anchor: float
    speed: float | None

    def begins(self, t: int) -> float:
        """Time at which interval ``t`` begins; -inf without a speed."""
        return -math.inf if self.speed is None else self.anchor + t * INTERVAL_S / self.speed

    def left(self, t: int) -> float:
        """Seconds until interval ``t`` begins; inf without a speed."""
        return math.inf if self.speed is None else self.begins(t) - time.time()

    def current(self, t: int) -> int:
        """The interval that is running now; ``t`` itself without a speed."""
        if self.speed is None:
            return t
        return math.floor((time.time() - self.anchor) * self.speed / INTERVAL_S)

    def wait(self, t: int) -> None:
        """Sleep until interval ``t`` begins. In short naps: a clock that is set moves the end."""
        while (left := self.left(t)) > 0 and math.isfinite(left):
            time.sleep(min(left, 1.0))


def next_half_hour(lead_s: float) -> float:
    """The first half-hour boundary (UTC) at least ``lead_s`` seconds from now."""
    return math.ceil((time.time() + lead_s) / INTERVAL_S) * INTERVAL_S
