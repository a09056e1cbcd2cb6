"""A meter of known truth: what a home used, second by second, and what its register showed."""

from dataclasses import dataclass

import numpy as np

BEGIN = 1_800_000_000  # a full hour


@dataclass(frozen=True)
class Truth:
    """``kwh``: (T + 1,) energy used since ``BEGIN``, one value a second."""

    kwh: np.ndarray

    def at(self, time):
        """Energy used up to ``time`` [s since 1970]."""
        return np.interp(time, BEGIN + np.arange(len(self.kwh)), self.kwh)

    def between(self, begin, end):
        return self.at(end) - self.at(begin)

    def register(self, time, resolution, offset=1234.5):
        """What a register shows that is cut, not rounded, to its step."""
        steps = np.floor((self.at(time) + offset) / resolution + 1e-6)
        return steps * resolution


def home(draw: np.random.Generator, hours: int) -> Truth:
    """A home that draws up to a few kW, changing every minute, with quiet stretches."""
    minutes = hours * 60
    kw = np.exp(draw.normal(-1.0, 1.0, minutes)).clip(0, 8)
    kw *= np.repeat(draw.random(hours) > 0.2, 60)
    return Truth(np.concatenate([[0.0], np.cumsum(np.repeat(kw, 60) / 3600)]))


def stamps(draw: np.random.Generator, hours: int, cadence: float, jitter: float) -> np.ndarray:
    """Times of readings, about every ``cadence`` seconds, over the whole of a truth."""
    count = int(hours * 3600 / cadence)
    time = BEGIN + cadence * (np.arange(count) + jitter * draw.random(count))
    return np.unique(np.round(time, 3))
