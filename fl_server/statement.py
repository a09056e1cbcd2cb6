"""A household's statement: its bill line by line, and what each line would have been alone.

Alone means: the same meter, no market. Whatever the household drew would have come from the grid at
its own tariff and whatever it sent would have gone there. What its battery would have done without
a market is another question (``shadow`` in ``summary.json``).
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from common.arrays import Ints, Mask
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from fl_server.audit import Kind
from fl_server.bills import Period, chosen_days, labels, local_time
from fl_server.ledger import Ledger
from fl_server.lines import LINES, grid_lines, posted_lines
from fl_server.price_lists import PriceList

TOTAL = "total"
_METERED = (Kind.SETTLEMENT, Kind.ESTIMATE, Kind.REVISION)
_UNIT = dict.fromkeys(
    (
        *("energy", "markup", "network_fee", "levies", "feed_in", "local_sales", "corrections"),
        *("local_energy", "local_network_fee", "local_levies"),
    ),
    "kWh",
) | {"standing_charge": "days"}
_CHARGES = ("markup", "network_fee", "levies", "local_network_fee", "local_levies")
"""Lines that count the same kWh as another, and stand only where something is charged."""
_DRAWN = ("energy", "markup", "network_fee", "levies")
_LOCAL = ("local_energy", "local_network_fee", "local_levies")


@dataclass(frozen=True)
class Statement:
    """A household's statement.

    ``lines``: indexed by (period, line), each period's last line its ``total``. Columns: quantity
    and its unit (kWh, days or none), amount [currency], what a household owes, negative where it
    earns; ``alone`` and ``saved`` = alone - amount, nan where the ledger does not hold the prices.
    ``estimated_kwh``: import less export of intervals without a reading. ``unsettled``: intervals
    that are traded but not metered yet; they are not in ``alone``.
    """

    household: str
    run: str
    timezone: str
    lines: pd.DataFrame
    estimated_kwh: float
    unsettled: int

    @property
    def periods(self) -> list[str]:
        """The periods, in order."""
        return list(dict.fromkeys(self.lines.index.get_level_values("period")))

    def of(self, period: str) -> pd.DataFrame:
        """One period's lines, by line."""
        here = self.lines.index.get_level_values("period") == period
        return self.lines[here].droplevel("period")


def statement(
    ledger: Ledger,
    run: str,
    household: str,
    *,
    first: date | None = None,
    last: date | None = None,
    by: Period = "month",
    timezone: str | None = None,
) -> Statement:
    """State ``household``'s local days ``first`` to ``last`` (both included; None: all).

    Lines are summed as integers and divided once, so they add up to the ledger's total exactly. A
    correction stands in the period in which it was booked. Raises InputError.
    """
    rows = ledger.postings_of(household)
    interval = rows[:, 0].copy()
    interval[rows[:, 1] == Kind.REVISION] = ledger.corrected_with(household)
    time, zone = local_time(ledger, run, interval, timezone)
    wanted = chosen_days(time, first, last)
    rows, time = rows[wanted], time[wanted]
    period = labels(time, by)
    prices, known = _prices(ledger.price_lists_of(household), rows[:, 0])
    amounts = posted_lines(rows, prices, known)
    quantities = _quantities(rows)
    settled = rows[:, 0] <= ledger.settled_until()
    alone = _alone(rows, prices, settled, amounts["standing_charge"], amounts["vat"])

    def summed(lines: dict[str, Ints]) -> pd.DataFrame:
        return pd.DataFrame(lines, dtype=np.int64).groupby(period).sum()

    paid, other, energy = summed(dict(amounts)), summed(alone), summed(quantities)
    complete = (
        pd.Series(known | ~np.isin(rows[:, 1], (*_METERED, Kind.FILLS))).groupby(period).all()
    )
    kind, net = rows[:, 1], rows[:, 3] - rows[:, 4]
    return Statement(
        household,
        run,
        zone,
        _table(paid, other, energy, complete),
        float(net[kind == Kind.ESTIMATE].sum()) / MILLI_WH_PER_KWH,
        len(np.unique(rows[~settled & (kind == Kind.FILLS), 0])),
    )


def _prices(lists: Ints, interval: Ints) -> tuple[Ints, Mask]:
    """The price list (n, 11) of each posting, and whether there is one (n,)."""
    if not len(lists):
        return np.zeros((len(interval), len(PriceList._fields)), np.int64), np.zeros(
            len(interval), bool
        )
    at = np.minimum(np.searchsorted(lists[:, 0], interval), len(lists) - 1)
    return lists[at, 1:], lists[at, 0] == interval


def _quantities(rows: Ints) -> dict[str, Ints]:
    """What the lines of postings (n, 7) count: mWh, or millionths of a day."""
    kind, energy_in, energy_out = rows[:, 1], rows[:, 3], rows[:, 4]
    meter, market = np.isin(kind, _METERED[:2]), kind == Kind.FILLS
    counted = {name: np.where(meter, energy_in, 0) for name in _DRAWN}
    counted |= {name: np.where(market, energy_in, 0) for name in _LOCAL}
    return counted | {
        "standing_charge": np.where(kind == Kind.STANDING, MILLI_WH_PER_KWH, 0),
        "local_sales": np.where(market, energy_out, 0),
        "feed_in": np.where(meter, energy_out, 0),
        "corrections": np.where(kind == Kind.REVISION, energy_in - energy_out, 0),
    }


def _alone(rows: Ints, prices: Ints, settled: Mask, standing: Ints, vat: Ints) -> dict[str, Ints]:
    """The lines of the same meter without a market, at the last posting of each interval.

    Where an interval is settled (n,) and the household has no posting of that, it has drawn and
    sent just what it traded.
    """
    kind = rows[:, 1]
    _, group = np.unique(rows[:, 0], return_inverse=True)
    count = int(group.max(initial=-1)) + 1

    def per_interval(column: Ints, kinds: tuple[Kind, ...]) -> Ints:
        total = np.zeros(count, np.int64)
        np.add.at(total, group, np.where(np.isin(kind, kinds), column, 0))
        return total

    energy_in, energy_out = rows[:, 3], rows[:, 4]
    bought, sold = (per_interval(c, (Kind.FILLS,)) for c in (energy_in, energy_out))
    drawn, fed = (per_interval(c, _METERED) for c in (energy_in, energy_out))
    revised = per_interval(np.ones_like(kind), (Kind.REVISION,)) > 0
    last = np.zeros(count, np.int64)
    last[group] = np.arange(len(rows))
    price = prices[last]
    imported, exported = _metered(bought, sold, drawn, fed, revised, price)
    lines = {name: np.zeros(len(rows), np.int64) for name in LINES}
    for name, amount in grid_lines(imported, exported, price).items():
        lines[name][last] = np.where(settled[last], amount, 0)
    day = kind == Kind.STANDING
    lines["standing_charge"] += np.where(day, standing, 0)
    lines["vat"] += np.where(day, vat, 0)
    return lines


def _metered(
    bought: Ints, sold: Ints, drawn: Ints, fed: Ints, revised: Mask, prices: Ints
) -> tuple[Ints, Ints]:
    """What the meter imported and exported [mWh] in intervals with these fills and settlements.

    Both registers where the ledger tells them apart. The net where it does not: where energy was
    bought and not used while some was fed in, or sold and not sent while some was drawn, and in
    what has been corrected. And where export earns more than import costs, as it is settled.
    """
    net = bought - sold + drawn - fed
    dearer = prices[:, :5].sum(axis=1) < prices[:, 5]
    buys, sells = (bought > 0) & (sold == 0), (sold > 0) & (bought == 0)
    apart = ((bought == 0) & (sold == 0)) | (buys & (drawn > 0)) | (sells & (fed > 0))
    apart &= ~revised & ~dearer
    imported = np.where(apart, bought + drawn, np.maximum(net, 0))
    return imported, imported - net


def _table(
    paid: pd.DataFrame, alone: pd.DataFrame, quantity: pd.DataFrame, complete: pd.Series
) -> pd.DataFrame:
    """``Statement.lines`` of micro paid, and alone, and what is counted, all by period and line."""
    made: list[tuple[str, str, int, str, int, int]] = []
    for period in paid.index:
        amounts, others = (frame.loc[period].to_dict() for frame in (paid, alone))
        counted = quantity.loc[period].to_dict()
        for name in LINES:
            one = (int(counted.get(name, 0)), int(amounts[name]), int(others[name]))
            if one[1] or one[2] or (one[0] and name not in _CHARGES):
                made.append((period, name, one[0], _UNIT.get(name, ""), *one[1:]))
        made.append((period, TOTAL, 0, "", sum(amounts.values()), sum(others.values())))
    columns = ["period", "line", "quantity", "unit", "amount", "alone"]
    table = pd.DataFrame(made, columns=columns).set_index(["period", "line"])
    table["saved"] = (table["alone"] - table["amount"]) / MICRO
    table["quantity"] = (table["quantity"] / MILLI_WH_PER_KWH).where(table["unit"] != "")
    for name in ("amount", "alone"):
        table[name] = table[name] / MICRO
    told = complete.reindex(table.index.get_level_values("period")).to_numpy(bool)
    for name in ("alone", "saved"):
        table[name] = table[name].where(told)
    return table
