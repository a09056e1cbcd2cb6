"""How long the intervals of a market are, and what follows from it: asked here, nowhere else.

The market meters, trades and settles by intervals of ``run.interval_minutes``. What is not the
market's keeps half hours: what is stored of a home unless its import said otherwise, and the steps
in which models forecast and traders plan.
"""

from dataclasses import dataclass

import pandas as pd

from common.errors import InputError

MINUTES = (1, 5, 10, 15, 30, 60)
"""What an interval may be; a minute is for tests of live homes. Each divides an hour."""
DAY_MINUTES = 24 * 60
ENDLESS = 1 << 40
"""As many intervals as a run has of which nobody has said how long it is."""


@dataclass(frozen=True)
class Cadence:
    """Intervals of ``minutes``, one after the other. Raises InputError for another length."""

    minutes: int = 30

    def __post_init__(self) -> None:
        if self.minutes not in MINUTES:
            known = ", ".join(str(minutes) for minutes in MINUTES[1:])
            raise InputError(f"intervals of {self.minutes} minutes: {known} are supported")

    @property
    def hours(self) -> float:
        """Length of an interval [h]."""
        return self.minutes / 60

    @property
    def seconds(self) -> int:
        """Length of an interval [s]."""
        return self.minutes * 60

    @property
    def step(self) -> pd.Timedelta:
        """Length of an interval."""
        return pd.Timedelta(minutes=self.minutes)

    @property
    def noun(self) -> str:
        """What people call an interval; of several, with an s."""
        short = {1: "minute", 15: "quarter hour", 30: "half hour", 60: "hour"}
        return short.get(self.minutes, f"{self.minutes}-minute interval")

    @property
    def per_day(self) -> int:
        """Intervals in 24 hours."""
        return DAY_MINUTES // self.minutes

    def of_hours(self, hours: float) -> int:
        """How many intervals ``hours`` are, the nearest whole number."""
        return round(hours * 60 / self.minutes)

    def whole(self, hours: float) -> bool:
        """Whether ``hours`` are a whole number of intervals, and at least one."""
        count = hours * 60 / self.minutes
        return count > 0.5 and abs(count - round(count)) < 1e-6

    def half_hours(self, intervals: int) -> int:
        """How many half hours ``intervals`` are, one that has only begun included."""
        return -(-intervals * self.minutes // 30)


HALF_HOUR = Cadence(30)
"""Of what models read and forecast, and of stored readings unless their import said otherwise."""
