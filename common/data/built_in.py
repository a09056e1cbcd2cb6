"""Sources that need no file of the user's: ``citylearn`` and ``synthetic``."""

from typing import Any

import pandas as pd

from common.data import citylearn, synthetic
from common.data.frame import INTERVAL, Household, local_midnight
from common.data.span import Span, choose
from common.data.weather import LONDON
from common.errors import InputError


class CityLearn:
    """The homes of the 2022 CityLearn challenge."""

    label = citylearn.SOURCE
    real = True

    one_tariff = True

    def __init__(self, span: Span, households: int) -> None:
        self._span = span
        self._names = choose(citylearn.NAMES, households, "citylearn")
        citylearn.fetch()

    def block(self, name: str) -> dict[str, Any]:
        """Return nothing: there are no files beside these households."""
        return {}

    def names(self) -> list[str]:
        """Return the names of the households, sorted."""
        return self._names

    def load(self, name: str) -> Household:
        """Return one household. Raises InputError."""
        return self._span.adjust(citylearn.load(name))

    def start(self) -> pd.Timestamp:
        """Return the UTC time of interval 0. Raises InputError."""
        return self._span.start(self._spans)

    def lasts(self) -> float:
        """Return for how many days there is data from interval 0 on. Raises InputError."""
        return self._span.lasts(self._spans)

    @property
    def _spans(self) -> list[tuple[str, str, pd.Timestamp, int]]:
        zone = self._span.timezone or citylearn.TIMEZONE
        first = local_midnight(citylearn.FIRST, citylearn.TIMEZONE)
        return [(n, zone, first, 2 * citylearn.HOURS) for n in self._names]


class Synthetic:
    """Generated homes, a pure function of the seed."""

    label = "synthetic"
    real = False

    one_tariff = True

    def __init__(self, span: Span, seed: int, households: int) -> None:
        self._span = span
        self._seed = seed
        self._names = synthetic.names(households)
        day = pd.Timestamp(span.day or synthetic.DEFAULT_DAY)
        self._first = local_midnight(day - pd.Timedelta(days=span.history_days), LONDON.timezone)
        self._begin = local_midnight(day, LONDON.timezone)
        self._rows = int((self._begin - self._first) // INTERVAL) + span.half_hours

    def block(self, name: str) -> dict[str, Any]:
        """Return nothing: there are no files beside these households."""
        return {}

    def names(self) -> list[str]:
        """Return the names of the households, sorted."""
        return self._names

    def load(self, name: str) -> Household:
        """Return one household. Raises InputError."""
        if name not in self._names:
            raise InputError(f"synthetic source has no household {name!r}")
        made = synthetic.generate(name, seed=self._seed, first=self._first, intervals=self._rows)
        return self._span.adjust(made)

    def start(self) -> pd.Timestamp:
        """Return the UTC time of interval 0. Raises InputError."""
        return self._begin

    def lasts(self) -> float:
        """Raise InputError: generated homes have no last day."""
        raise InputError("run.days = null: synthetic homes have no last day; say how many days")
