"""The bill as the household's own books have it: named lines, of what was metered and traded.

The coordinator's is the one that is paid; it may hold more, as estimates and what gainers give to
losers. Both follow from the same readings, fills and prices.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from fl_client.host.books import Fill, Interval

_NOTHING = 5e-7


class Line(NamedTuple):
    """``kwh``: None where the line is not one of energy. ``amount``: owed; earned below 0."""

    name: str
    kwh: float | None
    amount: float


class OwnBill(NamedTuple):
    """Lines and their sum [currency], and over how many settled intervals."""

    lines: list[Line]
    total: float
    intervals: int


NOTHING_OWED = OwnBill([], 0.0, 0)


def own_bill(intervals: Iterable[Interval], fills: Mapping[int, Fill]) -> OwnBill:
    """Bill the settled ones among ``intervals``; ``fills``: what was traded, by interval."""
    settled = [one for one in intervals if one.settled and math.isfinite(one["cost"])]
    none = Fill(0.0, 0.0, 0.0, 0.0)
    traded = [fills.get(one.t, none) for one in settled]
    lines = [
        Line(
            "From the grid",
            math.fsum(one["grid_import"] for one in settled),
            math.fsum(one["grid_import"] * one["retail"] for one in settled),
        ),
        Line(
            "To the grid",
            math.fsum(one["grid_export"] for one in settled),
            -math.fsum(one["grid_export"] * one["feed_in"] for one in settled),
        ),
        Line(
            "From neighbours",
            math.fsum(one.bought_kwh for one in traded),
            math.fsum(one.paid for one in traded),
        ),
        Line(
            "To neighbours",
            math.fsum(one.sold_kwh for one in traded),
            -math.fsum(one.received for one in traded),
        ),
    ]
    total = math.fsum(one["cost"] for one in settled)
    rest = total - math.fsum(line.amount for line in lines)
    if abs(rest) > _NOTHING * max(len(settled), 1):
        lines.append(Line("Sold but not sent, bought but not used", None, rest))
    return OwnBill(lines, total, len(settled))


def saved_by_trading(intervals: Iterable[Interval]) -> float | None:
    """What the same intervals would have cost without neighbours, less what they did.

    As the household lives through both: its battery then follows another plan. None where it does
    not keep that record.
    """
    both = [
        one["shadow_cost"] - one["cost"]
        for one in intervals
        if one.settled and math.isfinite(one["shadow_cost"]) and math.isfinite(one["cost"])
    ]
    return math.fsum(both) if both else None
