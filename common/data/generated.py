"""The source ``synthetic``, which needs no file either: homes made from the seed."""

from typing import Any

import pandas as pd

from common.data import synthetic
from common.data.frame import INTERVAL, Household, local_midnight
from common.data.span import Span
from common.data.weather import LONDON
from common.errors import InputError


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
