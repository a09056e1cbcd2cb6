"""Accounting months: each household's statement of a month that is over, chained by hash.

A statement is a function of the ledger: whoever has that can make it again and compare its hash
with what a household has kept. It holds what was booked with the month's intervals, corrections of
earlier ones included; so nothing in it changes once the month is closed.
"""

import json
from collections.abc import Sequence

import pandas as pd

from common.cadence import Cadence
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from common.month_statement import digest, read_statement
from fl_server.checkpoint import Checkpoint
from fl_server.ledger import Ledger
from fl_server.statement import TOTAL, statement


class Calendar:
    """The months of a run's intervals, in time zone ``zone``; interval 0 begins at ``start``."""

    def __init__(self, start: pd.Timestamp, cadence: Cadence, zone: str) -> None:
        self._start, self._cadence, self._zone = start, cadence, zone

    def month(self, t: int) -> pd.Period:
        """The month in which interval ``t`` begins."""
        local = (self._start + t * self._cadence.step).tz_convert(self._zone)
        return local.tz_localize(None).to_period("M")

    def end(self, month: pd.Period) -> int:
        """The first interval after ``month``."""
        midnight = month.end_time.normalize() + pd.Timedelta(days=1)
        moment = midnight.tz_localize(self._zone, ambiguous=True, nonexistent="shift_forward")
        return -int((self._start - moment) // self._cadence.step)


def due(state: Checkpoint, calendar: Calendar, h: int, *, leaves: bool) -> pd.Period | None:
    """The next month of household ``h`` that is closed and has not been kept by it, if there is.

    Closed is a month when all readings of it are there, or were estimated; for who ``leaves``,
    every month in which it was in when its own are.
    """
    month = next_month(state, calendar, h)
    if month is None:
        return None
    end = calendar.end(month)
    if leaves:
        last = _last(state, h)
        settled = not state.unread(h, state.t)
        return month if settled and month <= calendar.month(last) else None
    # The interval before the one to run is settled with that.
    over = min([state.t - 1, *state.open])
    return month if over >= end else None


def next_month(state: Checkpoint, calendar: Calendar, h: int) -> pd.Period | None:
    """The first month of household ``h`` that it has kept no statement of; None before its first
    interval."""
    first = _first(state, h)
    if first is None:
        return None
    kept = state.stated.get(h)
    return calendar.month(first) if kept is None else pd.Period(kept[0], "M") + 1


def _first(state: Checkpoint, h: int) -> int | None:
    if state.spans is None:
        return 0 if state.t > 0 else None
    return state.spans[h][0][0] if state.spans[h] else None


def _last(state: Checkpoint, h: int) -> int:
    """The newest interval in which ``h`` was in."""
    if state.spans is None:
        return state.t - 1
    end = state.spans[h][-1][1]
    return (state.t if end < 0 else end) - 1


def month_statement(
    ledger: Ledger, run: str, household: str, month: pd.Period, before: str, zone: str
) -> str:
    """The statement of a month as the text that is hashed; ``before``: that of the one before.

    Energy in mWh, money in micro, as the ledger has them; a household owes what is above 0.
    """
    first, last = month.start_time.date(), month.end_time.date()
    made = statement(ledger, run, household, first=first, last=last, timezone=zone)
    lines: dict[str, list[int]] = {}
    total = 0
    for period in made.periods:
        for name, line in made.of(period).iterrows():
            amount = round(float(line["amount"]) * MICRO)
            if name == TOTAL:
                total = amount
                continue
            quantity = float(line["quantity"])
            counted = 0 if pd.isna(quantity) else round(quantity * MILLI_WH_PER_KWH)
            lines[str(name)] = [counted, amount]
    said = {
        "run": run,
        "household": household,
        "month": str(month),
        "timezone": zone,
        "lines": lines,
        "total": total,
        "before": before,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"))


def check_kept(ledger: Ledger, run: str, kept: Sequence[str]) -> list[tuple[str, str]]:
    """(Month, what is wrong, "" where nothing is) of statements as a household has kept them.

    Each must follow the one before it by its hash, and be what the ledger says. Raises InputError
    for texts that are no statements.
    """
    found: list[tuple[str, str]] = []
    before = ""
    for text in kept:
        said, wrong = read_statement(text), ""
        month = pd.Period(said.month, "M")
        again = month_statement(ledger, run, said.household, month, said.before, said.timezone)
        if said.before != before and found:
            wrong = "does not follow the statement before it"
        elif again != text:
            wrong = "the ledger says otherwise"
        found.append((said.month, wrong))
        before = digest(text)
    return found
