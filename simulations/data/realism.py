"""Generated homes against real ones: distributions side by side, each with its tolerance.

fedwatt data compare REAL_FOLDER [--households 42] [--seed 0] [--picture realism.png]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.data.frame import DAY, Household
from common.data.quality import Quality

_DECILES = np.arange(0.1, 0.95, 0.1)

# Figure of Quality -> its name in tables and pictures.
FIGURES = {
    "kwh_per_day": "kWh per day",
    "day_correlation": "correlation with the day before",
    "week_correlation": "correlation with the week before",
    "load_factor": "load factor (mean / peak)",
    "peak_kwh": "peak half hour, kWh",
    "below_100_wh": "share below 0.1 kWh",
    "difficulty": "nRMSE of the 7-day mean",
}


@dataclass(frozen=True)
class Line:
    """One comparison: real and generated value, their distance and what is allowed."""

    what: str
    real: float
    made: float
    distance: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the distance is within the tolerance."""
        return self.distance <= self.allowed


def collect(figures: Sequence[Quality]) -> dict[str, Floats]:
    """Return {figure: (H,) values}."""
    return {key: np.array([getattr(q, key) for q in figures]) for key in FIGURES}


def compare(real: dict[str, Floats], made: dict[str, Floats]) -> list[Line]:
    """Return every comparison. Spread is the standard deviation over homes.

    kWh per day: median and deciles within 15 %. Correlations: median within 0.1, spread within a
    third. Difficulty: median within 10 %. Load factor and peak: median within 15 %, share below
    0.1 kWh: median within 0.1; their spreads within a third.
    """
    lines = []

    def relative(what: str, one: float, two: float, allowed: float) -> None:
        lines.append(Line(what, one, two, abs(two / one - 1), allowed))

    def absolute(what: str, one: float, two: float, allowed: float) -> None:
        lines.append(Line(what, one, two, abs(two - one), allowed))

    for share in _DECILES:
        one, two = (float(np.nanquantile(d["kwh_per_day"], share)) for d in (real, made))
        name = "median" if abs(share - 0.5) < 1e-9 else f"decile {share:.1f}"
        relative(f"{FIGURES['kwh_per_day']}, {name}", one, two, 0.15)
    for key, title in list(FIGURES.items())[1:]:
        one, two = float(np.nanmedian(real[key])), float(np.nanmedian(made[key]))
        if "correlation" in key or key == "below_100_wh":
            absolute(f"{title}, median", one, two, 0.1)
        else:
            relative(f"{title}, median", one, two, 0.10 if key == "difficulty" else 0.15)
        relative(
            f"{title}, spread", float(np.nanstd(real[key])), float(np.nanstd(made[key])), 1 / 3
        )
    return lines


def mean_days(homes: Sequence[Household]) -> Floats:
    """(2, 48) kWh: the mean workday and weekend day over homes, by local half hour."""
    total = np.zeros((2, DAY))
    count = np.zeros((2, DAY))
    for home in homes:
        index = home.frame.index
        assert isinstance(index, pd.DatetimeIndex)
        local = index.tz_convert(home.timezone)
        slot = np.asarray(local.hour * 2 + local.minute // 30)
        part = np.asarray(local.day_of_week >= 5, dtype=np.int64)
        seen = ~home.filled_rows
        np.add.at(total, (part[seen], slot[seen]), home.consumption[seen])
        np.add.at(count, (part[seen], slot[seen]), 1.0)
    return np.asarray(total / np.maximum(count, 1.0))
