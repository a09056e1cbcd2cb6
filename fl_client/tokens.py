"""Half hours, in which models read and forecast, beside the intervals of a run.

A run begins with a half hour, whatever its intervals. What models say is summed up or spread here,
at the edge: they are the same for every length of interval.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Floats
from common.cadence import HALF_HOUR, Cadence
from common.data.regrid import regrid


@dataclass(frozen=True)
class Tokens:
    """The half hours of a run of ``intervals`` of ``cadence``, numbered from its beginning on."""

    cadence: Cadence
    intervals: int

    @property
    def count(self) -> int:
        """How many there are; the last may not be over when the run is."""
        return self.cadence.half_hours(self.intervals)

    def at(self, t: int) -> int:
        """The half hour in which interval ``t`` begins."""
        return t * self.cadence.minutes // HALF_HOUR.minutes

    def first(self, token: int) -> int:
        """The interval in which half hour ``token`` begins."""
        return token * HALF_HOUR.minutes // self.cadence.minutes

    def over(self, known: int) -> int:
        """How many are known from beginning to end when the intervals before ``known`` are.

        Below zero where not even all before the run is known.
        """
        return known * self.cadence.minutes // HALF_HOUR.minutes

    def energy(self, ahead: Floats, t: int) -> Floats:
        """Energies (..., K) of half hours, from that of ``t`` on -> (..., N) of intervals."""
        return self._regrid(ahead, t, "energy")

    def level(self, ahead: Floats, t: int) -> Floats:
        """The same of prices."""
        return self._regrid(ahead, t, "level")

    def _regrid(self, ahead: Floats, t: int, how: str) -> Floats:
        minutes = self.cadence.minutes
        if minutes == HALF_HOUR.minutes:
            return ahead
        first = np.moveaxis(ahead, -1, 0)
        skip = t * minutes % HALF_HOUR.minutes
        return np.moveaxis(regrid(first, HALF_HOUR.minutes, minutes, skip, how), 0, -1)
