"""What this month will cost: what is booked so far, and what the rest should cost without trading.

The rest goes by one rule. Net load is the use that the shared model expects less what the sun gave
at the same time of day, on average over the last week: no model tells the sun of a month. Import
pays the price that the model expects, export earns the feed-in price of that time of day; nothing
is traded, and the battery rests. It goes through the lines of the bill as what is booked does.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from fl_client.host.books import Books, Interval, MonthAhead
from fl_client.host.own_bill import OwnBill, own_bill
from fl_client.state import QUANTITIES

LOOK_BACK_DAYS = 31
_RECENT_DAYS = 7
_WEEK_DAYS = 7


class MonthBill(NamedTuple):
    """``booked``: of this local month, as settled; ``rest``: of its intervals to come, expected.

    ``begins``: the rest.
    """

    booked: OwnBill
    rest: OwnBill
    begins: datetime

    @property
    def total(self) -> float:
        """What the month should cost [currency]."""
        return self.booked.total + self.rest.total

    @property
    def line(self) -> str:
        """All of it in a line."""
        return (
            f"{'bill':>6}: {self.total:9.2f} for the month: {self.booked.total:.2f} booked so far, "
            f"{self.rest.total:.2f} expected of the rest, without trading, the battery at rest"
        )


def month_bill(
    books: Books,
    lived: Sequence[Interval],
    ahead: MonthAhead | None,
    tariff: Mapping[str, float],
) -> MonthBill | None:
    """The bill of the month in which the next interval to be settled lies.

    ``lived``: what has been decided in the last LOOK_BACK_DAYS at least. ``tariff``: what prices
    are made of, as ``State.set_tariff`` keeps it. None where there is no forecast, or less than a
    day has been settled.
    """
    rest = [] if ahead is None else rest_of_month(books, lived, ahead)
    if not rest:
        return None
    of_month = [one for one in lived if _month(one) == _month(rest[0])]
    fills = books.fills(of_month[0].t if of_month else rest[0].t)
    booked = own_bill(of_month, fills, tariff)
    return MonthBill(booked, own_bill(rest, {}, tariff), rest[0].begins)


def rest_of_month(books: Books, lived: Sequence[Interval], ahead: MonthAhead) -> list[Interval]:
    """The intervals of this month that are not settled, as they are expected to be settled.

    Nothing where less than a day is settled.
    """
    settled = [one for one in lived if one.settled]
    if len(settled) < books.per_day:
        return []
    usual = _usual(settled[-_RECENT_DAYS * books.per_day :])
    first = max(settled[-1].t + 1, ahead.t)
    found: list[Interval] = []
    t, begins = first, books.begins(first)
    this = begins.month
    while begins.month == this:
        use_kwh, price = _expected(ahead, t - ahead.t, books.per_day)
        pv_kwh, feed_in = usual.get((begins.hour, begins.minute), (0.0, 0.0))
        drawn_kwh, fed_kwh = max(use_kwh - pv_kwh, 0.0), max(pv_kwh - use_kwh, 0.0)
        values = dict.fromkeys(QUANTITIES, math.nan) | {
            "load": use_kwh,
            "pv": pv_kwh,
            "grid_import": drawn_kwh,
            "grid_export": fed_kwh,
            "retail": price,
            "feed_in": feed_in,
            "cost": drawn_kwh * price - fed_kwh * feed_in,
        }
        found.append(Interval(t, begins, books.step, True, values))
        t += 1
        begins = books.begins(t)
    return found


def _usual(settled: Sequence[Interval]) -> dict[tuple[int, int], tuple[float, float]]:
    """(What the sun gave [kWh], feed-in price) by local time of day: means."""
    at: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for one in settled:
        if math.isfinite(one["pv"]) and math.isfinite(one["feed_in"]):
            at.setdefault((one.begins.hour, one.begins.minute), []).append(
                (one["pv"], one["feed_in"])
            )
    return {
        time: (math.fsum(pv for pv, _ in some) / len(some),
               math.fsum(paid for _, paid in some) / len(some))
        for time, some in at.items()
    }  # fmt: skip


def _expected(ahead: MonthAhead, step: int, per_day: int) -> tuple[float, float]:
    """(Use [kWh], price) of a step; a month may be longer than the forecast: its last week again
    then."""
    count, week = len(ahead.consumption), _WEEK_DAYS * per_day
    if step >= count:
        step = count - week + (step - count) % week
    return ahead.consumption[step], ahead.price[step]


def _month(one: Interval) -> tuple[int, int]:
    return one.begins.year, one.begins.month
