"""What every source of households is, and the part of the data that a run needs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Protocol

import pandas as pd

from common.cadence import HALF_HOUR, Cadence
from common.data.frame import Household, local_midnight
from common.errors import InputError


class Source(Protocol):
    """Some households, in order of their names."""

    label: str
    real: bool
    one_tariff: bool  # whether all households have the same prices

    def names(self) -> list[str]:
        """Return the names of the households, sorted."""

    def load(self, name: str) -> Household:
        """Return one household. Raises InputError that names it."""

    def block(self, name: str) -> dict[str, Any]:
        """Return what lies beside a household's data: its own settings, by section.

        Raises InputError that names the file.
        """

    def start(self) -> pd.Timestamp:
        """Return the UTC time of interval 0: the local midnight at which a run begins.

        Raises InputError when a household's readings do not cover the run from there.
        """

    def lasts(self) -> float:
        """Return for how many days every household has data from interval 0 on.

        Raises InputError where there is no end, or no interval.
        """


class Span:
    """The part of the data a run needs."""

    def __init__(
        self,
        start: date | None,
        days: float | None,
        history_days: int,
        timezone: str | None,
        cadence: Cadence = HALF_HOUR,
    ) -> None:
        self.day = start
        # Of a run as long as its data, until that is asked for.
        intervals = 1 if days is None else max(1, round(days * cadence.per_day))
        self._cadence = cadence
        # Prices are read for a whole half hour at the end, and models count in them.
        self.half_hours = cadence.half_hours(intervals)
        self.history_days = history_days
        self.timezone = timezone

    def start(self, spans: Sequence[tuple[str, str, pd.Timestamp, int]]) -> pd.Timestamp:
        """Return interval 0 for households given as (name, zone, first time, half hours)."""
        zone = self.timezone or spans[0][1]
        latest = max(first for _, _, first, _ in spans).tz_convert(zone)
        whole = latest.tz_localize(None).normalize()
        if latest != latest.normalize():
            whole += pd.Timedelta(days=1)
        if self.day is not None:
            begin = local_midnight(self.day.isoformat(), zone)
        else:
            begin = local_midnight(whole + pd.Timedelta(days=self.history_days), zone)
        end = begin + self.half_hours * HALF_HOUR.step
        for name, _, first, half_hours in spans:
            last = first + half_hours * HALF_HOUR.step
            if begin < first or end > last:
                ends = min(first + count * HALF_HOUR.step for _, _, first, count in spans)
                raise InputError(
                    f"household {name} has readings from {first:%Y-%m-%d %H:%M} to "
                    f"{last:%Y-%m-%d %H:%M} UTC; the run needs {begin:%Y-%m-%d %H:%M} to "
                    f"{end:%Y-%m-%d %H:%M}: {self._way_out(whole, ends.tz_convert(zone))}"
                )
        return begin

    def lasts(self, spans: Sequence[tuple[str, str, pd.Timestamp, int]]) -> float:
        """For how many days all households, given as in ``start``, have data from interval 0 on.

        Whole intervals are counted. Raises InputError for less than one.
        """
        begin = self.start(spans)
        ends = min(first + half_hours * HALF_HOUR.step for _, _, first, half_hours in spans)
        return int((ends - begin) // self._cadence.step) / self._cadence.per_day

    def _way_out(self, first_day: pd.Timestamp, ends: pd.Timestamp) -> str:
        """Say what would fit between the first whole local day and the last reading of all."""
        last_day = (ends - self.half_hours * HALF_HOUR.step).tz_localize(None).normalize()
        spare = (last_day - first_day).days
        run = f"{self.half_hours / HALF_HOUR.per_day:g} days"
        if spare < (0 if self.day is not None else 1):
            return f"too few days for a run of {run}: fewer --days, or more readings"
        if self.day is not None:
            return f"a run of {run} may --start from {first_day:%Y-%m-%d} to {last_day:%Y-%m-%d}"
        return (
            f"it wants {self.history_days} days of history before its {run}, and there are "
            f"{spare}: --set run.history_days={spare}"
        )

    def adjust(self, household: Household) -> Household:
        """Return the household in the time zone asked for."""
        return household if self.timezone is None else replace(household, timezone=self.timezone)


def choose(names: Sequence[str], households: int, where: str) -> list[str]:
    """Return the first ``households`` names in sorted order. Raises InputError if too few."""
    if households > len(names):
        raise InputError(f"{households} households asked for, {where} has {len(names)}")
    return sorted(names)[:households]
