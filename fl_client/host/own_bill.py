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


def own_bill(
    intervals: Iterable[Interval],
    fills: Mapping[int, Fill],
    tariff: Mapping[str, float] | None = None,
) -> OwnBill:
    """Bill the settled ones among ``intervals``; ``fills``: what was traded, by interval.

    ``tariff``: what prices are made of, as ``State.set_tariff`` keeps it; a line without kWh, price
    or days is left out. The energy's line is what the others leave of what was paid.
    """
    settled = [one for one in intervals if one.settled and math.isfinite(one["cost"])]
    parts = tariff or {}
    none = Fill(0.0, 0.0, 0.0, 0.0)
    traded = [fills.get(one.t, none) for one in settled]
    drawn = math.fsum(one["grid_import"] for one in settled)
    paid = math.fsum(one["grid_import"] * one["retail"] for one in settled)
    bought = math.fsum(one.bought_kwh for one in traded)
    cost = math.fsum(one.paid for one in traded)
    days = sum((one.begins - one.step).date() != one.begins.date() for one in settled)
    standing = days * parts.get("standing_charge", 0.0)
    grid = [
        Line(name, drawn, drawn * parts.get(key, 0.0))
        for name, key in (
            ("Supplier's markup", "markup"),
            ("Network fee", "network_fee"),
            ("Levies", "levies"),
        )
    ]
    vat = parts.get("vat", 0.0)
    tax = paid * vat / (1.0 + vat)
    local = [
        Line(name, bought, bought * parts.get(f"local_{key}", 0.0))
        for name, key in (
            ("Network fee on it", "network"),
            ("Levies on it", "levies"),
            ("VAT on these", "vat"),
        )
    ]
    beside = tax + math.fsum(line.amount for line in grid)
    lines = [
        Line("From the grid", drawn, paid - beside),
        *(line for line in grid if line.amount),
        *([Line("Standing charge", None, standing)] if standing else []),
        *([Line("VAT", None, tax + standing * vat)] if vat else []),
        Line("From neighbours", bought, cost - math.fsum(line.amount for line in local)),
        *(line for line in local if line.amount),
        Line(
            "To neighbours",
            math.fsum(one.sold_kwh for one in traded),
            -math.fsum(one.received for one in traded),
        ),
        Line(
            "To the grid",
            math.fsum(one["grid_export"] for one in settled),
            -math.fsum(one["grid_export"] * one["feed_in"] for one in settled),
        ),
    ]
    total = math.fsum(one["cost"] for one in settled) + standing * (1.0 + vat)
    rest = total - math.fsum(line.amount for line in lines)
    if abs(rest) > _NOTHING * max(len(settled), 1):
        lines.append(Line("Sold but not sent, bought but not used", None, rest))
    return OwnBill(lines, total, len(settled))


def saved_by(intervals: Iterable[Interval], otherwise: str, really: str) -> float | None:
    """Cost ``otherwise`` less cost ``really`` of settled intervals, by names of quantities.

    As the household lives through both: its battery then follows another plan. None where it does
    not keep that record.
    """
    both = [
        one[otherwise] - one[really]
        for one in intervals
        if one.settled and math.isfinite(one[otherwise]) and math.isfinite(one[really])
    ]
    return math.fsum(both) if both else None
