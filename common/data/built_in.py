"""The source ``citylearn``, which needs no file of the user's."""

from typing import Any

import pandas as pd

from common.data import citylearn
from common.data.frame import Household, local_midnight
from common.data.span import Span, choose


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
