"""What time it is in the home: the wall clock, or a faster one where a run is tried out."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class HouseClock:
    """It shows ``at`` when the wall clock shows ``anchor`` [s since 1970], and runs ``speed``
    times as fast."""

    at: float = 0.0
    anchor: float = 0.0
    speed: float = 1.0

    def now(self) -> float:
        """Seconds since 1970."""
        return self.at + (time.time() - self.anchor) * self.speed

    def wall(self, seconds: float) -> float:
        """Seconds on the wall that so many seconds of the home take."""
        return seconds / self.speed
