"""Bills: what a household traded and owes, per period of its calendar."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from common.arrays import Ints, Mask
from common.errors import InputError
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from fl_server.ledger import Kind, Ledger

Period = Literal["interval", "day", "month", "total"]
_FREQUENCY = {"day": "D", "month": "M"}

FIGURES = (
    "bought_kwh",
    "paid",
    "sold_kwh",
    "received",
    "grid_import_kwh",
    "grid_cost",
    "grid_export_kwh",
    "grid_revenue",
    "total",
)
CAP_FIGURES = ("surcharge", "surcharge_returned")
"""What follows ``grid_revenue`` where a community cap has been passed."""
ESTIMATE_FIGURE = "estimated_kwh"
"""Import less export of intervals that were estimated; it is in the figures of the grid too."""
REVISION_FIGURES = ("corrected_kwh", "corrections")
"""What meters said later: import less export, and what that adds to the bill."""
STANDING_FIGURE = "standing_charge"
"""What days cost, VAT included, where a tariff has a standing charge."""
COMPENSATION_FIGURES = ("compensation_given", "compensation_received")
"""What stands before the total where gainers have compensated losers."""


@dataclass(frozen=True)
class Bill:
    """A household's bill. ``lines``: one row per period, columns FIGURES, kWh and currency.

    ``bought`` and ``sold`` are the market's trades, ``grid_*`` what was settled at the meter;
    ``total`` is what the household owes, negative where it earns. Where the bill holds any,
    CAP_FIGURES stand before the total: paid for drawing beyond an allowance, and the part of all
    such payments that came back. COMPENSATION_FIGURES after them: what the household gave of its
    gain to those who lost by the market, or received as one of them.
    """

    household: str
    run: str
    timezone: str
    lines: pd.DataFrame

    @property
    def total(self) -> pd.Series:
        """Sum of every column."""
        return self.lines.sum()


def bill(
    ledger: Ledger,
    run: str,
    household: str,
    *,
    first: date | None = None,
    last: date | None = None,
    by: Period = "day",
    timezone: str | None = None,
) -> Bill:
    """Bill ``household`` for the local days ``first`` to ``last`` (both included; None: all).

    Figures are summed as integers and divided once, so periods add up to the total exactly.
    """
    rows = ledger.postings_of(household)
    time, zone = local_time(ledger, run, rows[:, 0], timezone)
    wanted = chosen_days(time, first, last)
    rows, time = rows[wanted], time[wanted]

    kind = rows[:, 1]
    market, compensated = kind == Kind.FILLS, kind == Kind.COMPENSATION
    capped, estimated = kind == Kind.SURCHARGE, kind == Kind.ESTIMATE
    revised, meter = kind == Kind.REVISION, estimated | (kind == Kind.SETTLEMENT)
    standing = kind == Kind.STANDING
    energy_in, energy_out, money_in, money_out = rows[:, 3:].T
    figures = (
        np.where(market, energy_in, 0),
        np.where(market, money_out, 0),
        np.where(market, energy_out, 0),
        np.where(market, money_in, 0),
        np.where(meter, energy_in, 0),
        np.where(meter, money_out, 0),
        np.where(meter, energy_out, 0),
        np.where(meter, money_in, 0),
        money_out - money_in,
    )
    table = pd.DataFrame(dict(zip(FIGURES, figures, strict=True)))
    if standing.any():
        table.insert(len(table.columns) - 1, STANDING_FIGURE, np.where(standing, money_out, 0))
    for names, booked in ((CAP_FIGURES, capped), (COMPENSATION_FIGURES, compensated)):
        if booked.any():
            for name, money in zip(names, (money_out, money_in), strict=True):
                table.insert(len(table.columns) - 1, name, np.where(booked, money, 0))
    if estimated.any():
        table.insert(len(table.columns) - 1, ESTIMATE_FIGURE, estimated * (energy_in - energy_out))
    if revised.any():
        for name, value in zip(
            REVISION_FIGURES, (energy_in - energy_out, money_out - money_in), strict=True
        ):
            table.insert(len(table.columns) - 1, name, np.where(revised, value, 0))
    lines = table.groupby(labels(time, by)).sum()
    lines.index.name = "period"
    for name in lines.columns:
        lines[name] = lines[name] / (MILLI_WH_PER_KWH if name.endswith("_kwh") else MICRO)
    return Bill(household, run, zone, lines)


def local_time(
    ledger: Ledger, run: str, interval: Ints, timezone: str | None
) -> tuple[pd.DatetimeIndex, str]:
    """When intervals (n,) begin, in a time zone (None: the run's), and its name."""
    start, zone = ledger.origin()
    zone = timezone or zone
    if not start:
        raise InputError(f"ledger: run {run!r} does not tell when it began")
    try:
        origin = pd.Timestamp(start)
        origin = origin.tz_localize("UTC") if origin.tzinfo is None else origin
        moments = pd.to_datetime(origin + interval * ledger.cadence.step, utc=True)
        return pd.DatetimeIndex(moments).tz_convert(zone), zone
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"ledger: start {start!r}, time zone {zone!r}: {error}") from None


def chosen_days(time: pd.DatetimeIndex, first: date | None, last: date | None) -> Mask:
    """Which moments (n,) lie in the days ``first`` to ``last``, both included."""
    if first is not None and last is not None and first > last:
        raise InputError(f"bill from {first} to {last}: the first day is after the last")
    day = time.date
    wanted = np.ones(len(time), bool)
    if first is not None:
        wanted &= day >= first
    if last is not None:
        wanted &= day <= last
    return wanted


def labels(time: pd.DatetimeIndex, by: Period) -> np.ndarray:
    """The period (n,) that each moment lies in."""
    if by == "interval":
        return np.array([moment.isoformat() for moment in time], dtype=object)
    if by == "total":
        return np.full(len(time), "total", dtype=object)
    return np.array(time.tz_localize(None).to_period(_FREQUENCY[by]).astype(str), dtype=object)
