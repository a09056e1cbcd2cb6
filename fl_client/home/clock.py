"""What time it is in the home: the wall clock, or a faster one where a run is tried out."""

import time
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.yaml_text import number, read_yaml

CLOCK = "clock.yaml"
"""In a household's folder, where a run is tried out: ``{at, anchor, speed}``."""
_LAST_S = 2.5e11  # the last centuries that calendars know
_FASTEST = 1e6


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


def read_clock(home: Path) -> HouseClock:
    """The clock of the household in folder ``home``: the wall clock unless CLOCK says otherwise.

    Raises InputError.
    """
    path = home / CLOCK
    if not path.exists():
        return HouseClock()
    loaded = read_yaml(path)
    if not isinstance(loaded, dict) or set(loaded) != {"at", "anchor", "speed"}:
        raise InputError(f"{path}: expected at, anchor and speed, and nothing else")
    at, anchor = (number(loaded, key, 0.0, 0.0, _LAST_S, f"{path}: ") for key in ("at", "anchor"))
    return HouseClock(at, anchor, number(loaded, "speed", 1.0, 1 / _FASTEST, _FASTEST, f"{path}: "))
