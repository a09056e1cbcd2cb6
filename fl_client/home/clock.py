"""What time it is in the home: the wall clock, or a faster one where a run is tried out."""

import time
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.yaml_text import read_yaml

CLOCK = "clock.yaml"
"""In a household's folder, where a run is tried out: ``{at, anchor, speed}``."""


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
    values = [loaded[key] for key in ("at", "anchor", "speed")]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise InputError(f"{path}: expected numbers: seconds since 1970, and a rate")
    at, anchor, speed = map(float, values)
    if not speed > 0:
        raise InputError(f"{path}: speed {speed}: more than 0")
    return HouseClock(at, anchor, speed)
