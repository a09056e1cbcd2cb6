"""Prices of any step, and what they are on the run's intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from common.arrays import Floats, Ints
from common.data.prices import check_prices
from common.errors import InputError


@dataclass(frozen=True)
class Pieces:
    """Prices per kWh (n,), each from ``start`` to ``end`` (n,) [s since 1970, UTC], by time.

    They do not overlap; where there is none no price is known.
    """

    start: Ints
    end: Ints
    price: Floats

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int, float]], place: str) -> "Pieces":
        """Of (start, end, price) in any order; what stands there twice alike is kept once.

        Raises InputError, which names ``place``, for prices that are none or contradict another.
        """
        ordered = sorted(set(rows))
        start, end = (np.array([row[i] for row in ordered], np.int64) for i in (0, 1))
        price = np.array([row[2] for row in ordered], np.float64)
        check_prices(price, lambda at: f"{place}: {_iso(start[at])}: price")
        if len(start) and not (end > start).all():
            at = int(np.flatnonzero(end <= start)[0])
            raise InputError(f"{place}: {_iso(start[at])}: a price that ends before it begins")
        if (start[1:] < end[:-1]).any():
            at = int(np.flatnonzero(start[1:] < end[:-1])[0]) + 1
            raise InputError(f"{place}: two prices for {_iso(start[at])}")
        return cls(start, end, price)

    @classmethod
    def of_starts(
        cls, rows: Sequence[tuple[int, float]], place: str, step_s: int = 3600
    ) -> "Pieces":
        """Of (start, price) in any order: each holds until the next, but no longer than the one
        before it did, so that a gap stays a gap. ``step_s``: how long a single one holds.

        Raises InputError.
        """
        ordered = sorted(set(rows))
        start = np.array([row[0] for row in ordered], np.int64)
        if len(np.unique(start)) < len(start):
            at = int(np.flatnonzero(np.diff(start) == 0)[0])
            raise InputError(f"{place}: two prices for {_iso(start[at])}")
        if len(start) < 2:
            length = np.full(len(start), step_s)
        else:
            gap = np.diff(start)
            length = np.minimum(np.append(gap, gap[-1]), np.insert(gap, 0, gap[0]))
        return cls.of(
            [
                (s, s + n, row[1])
                for row, s, n in zip(ordered, start.tolist(), length.tolist(), strict=True)
            ],
            place,
        )

    def between(self, first: int, last: int) -> "Pieces":
        """What of it lies from ``first`` to ``last`` [s since 1970]."""
        inside = (self.end > first) & (self.start < last)
        return Pieces(
            np.maximum(self.start[inside], first),
            np.minimum(self.end[inside], last),
            self.price[inside],
        )

    def covers(self, first: int, last: int) -> bool:
        """Whether all of the time from ``first`` to ``last`` has a price."""
        part = self.between(first, last)
        return int((part.end - part.start).sum()) == last - first

    @staticmethod
    def joined(parts: Sequence["Pieces"]) -> "Pieces":
        """Pieces one after the other, given in order of time."""
        return Pieces(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("start", "end", "price")
            )
        )

    def on_grid(self, start: pd.Timestamp, step: pd.Timedelta, count: int) -> Floats:
        """Prices (count,) of intervals of length ``step`` from ``start`` on.

        An interval within one price has it, to the last bit. One that several share has their
        mean over time. One that is not all covered has none: nan.
        """
        length = int(step.total_seconds())
        begin = _seconds(start) + length * np.arange(count, dtype=np.int64)
        made = np.full(count, np.nan)
        if not len(self.start):
            return made
        first = np.searchsorted(self.start, begin, side="right") - 1
        at = np.maximum(first, 0)
        whole = (first >= 0) & (self.end[at] >= begin + length)
        made[whole] = self.price[at[whole]]
        for i in np.flatnonzero(~whole).tolist():
            part = self.between(int(begin[i]), int(begin[i]) + length)
            weight = part.end - part.start
            if int(weight.sum()) == length:
                made[i] = float((part.price * weight).sum() / length)
        return made


class PriceSource(Protocol):
    """A place that publishes prices."""

    name: str

    def imported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces:
        """Energy prices from ``first`` to ``last`` (UTC), as far as they are published.

        Raises InputError where the place does not answer, or what it says are no prices.
        """
        ...

    def exported(self, first: pd.Timestamp, last: pd.Timestamp) -> Pieces | None:
        """What is paid for exports; None where the place says nothing of that."""
        ...


def seconds(times: pd.DatetimeIndex) -> list[int]:
    """Seconds since 1970 of moments that know their zone."""
    return [int(second) for second in times.tz_convert("UTC").as_unit("s").asi8]


def _seconds(moment: pd.Timestamp) -> int:
    return int(moment.timestamp())


def _iso(second: int) -> str:
    return pd.Timestamp(int(second), unit="s", tz="UTC").isoformat()
