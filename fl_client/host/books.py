"""A household's own records, read and never written: intervals, trades, orders, models."""

import json
import math
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from common.month_statement import read_statement
from fl_client.state import QUANTITIES

_HALF_HOUR = timedelta(minutes=30)
_DAY = timedelta(days=1)
_HALF_HOURS_A_DAY = 48


@dataclass(frozen=True)
class Interval:
    """An interval of the run. ``values``: by name of ``state.QUANTITIES``, nan where unknown.

    ``begins``: in the local time of this computer. ``step``: how long it is.
    """

    t: int
    begins: datetime
    step: timedelta
    settled: bool
    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]


class Fill(NamedTuple):
    """What was traded for a half hour: kWh and currency."""

    bought_kwh: float
    sold_kwh: float
    paid: float
    received: float


class Order(NamedTuple):
    """``side`` 1 buys, -1 sells; kWh, and currency per kWh that it names as a limit."""

    side: int
    kwh: float
    price: float


class MonthAhead(NamedTuple):
    """What a model expects of the N intervals from ``t`` on: use [kWh], and the price of a kWh."""

    t: int
    consumption: list[float]
    price: list[float]


class Books:
    """The records in ``HOME/state`` as they are at this moment. ``step``: how long an interval is,
    as two of them tell; ``per_day``: how many a day has. ``zone``: whose local time is meant, that
    of this computer where it is None.
    """

    def __init__(self, db: sqlite3.Connection, zone: tzinfo | None = None) -> None:
        self._db, self._zone = db, zone
        self.about = dict(db.execute("SELECT key, value FROM about"))
        times = db.execute("SELECT t, time FROM intervals ORDER BY t LIMIT 2").fetchall()
        self.step = _HALF_HOUR
        if len(times) == 2:
            (t, begun), (later, began) = times
            passed = datetime.fromisoformat(began) - datetime.fromisoformat(begun)
            self.step = passed / (later - t)
        self.per_day = round(_DAY / self.step)

    def begins(self, t: int) -> datetime:
        """When interval ``t`` begins, in local time."""
        begins = datetime.fromisoformat(self.about["start"]) + t * self.step
        return begins.astimezone(self._zone)

    def newest(self) -> int:
        """The newest interval decided, -1 before the first."""
        found = self._db.execute("SELECT max(t) FROM intervals").fetchone()[0]
        return -1 if found is None else int(found)

    def intervals(self, first: int) -> list[Interval]:
        """Intervals from ``first`` on, in order."""
        rows = self._db.execute(
            f"SELECT t, settled, {', '.join(QUANTITIES)} FROM intervals WHERE t >= ? ORDER BY t",
            (first,),
        )
        found = []
        for t, settled, *row in rows:
            values = dict(zip(QUANTITIES, map(_number, row), strict=True))
            found.append(Interval(t, self.begins(t), self.step, bool(settled), values))
        return found

    def fills(self, first: int) -> dict[int, Fill]:
        """What was traded, by interval from ``first`` on."""
        rows = self._db.execute("SELECT * FROM announced WHERE t >= ? ORDER BY t", (first,))
        return {
            t: Fill(bought / MILLI_WH_PER_KWH, sold / MILLI_WH_PER_KWH, paid / MICRO, got / MICRO)
            for t, bought, sold, paid, got in rows
        }

    def traded(self) -> tuple[float, float]:
        """(kWh from neighbours, kWh to neighbours) in all."""
        bought, sold = self._db.execute("SELECT sum(bought), sum(sold) FROM announced").fetchone()
        return (bought or 0) / MILLI_WH_PER_KWH, (sold or 0) / MILLI_WH_PER_KWH

    def orders(self, t: int) -> list[Order]:
        """The orders of interval ``t``, where they are kept."""
        found = self._db.execute("SELECT orders FROM orders WHERE t = ?", (t,)).fetchone()
        numbers = array("q", b"" if found is None else found[0])
        return [
            Order(side, kwh / MILLI_WH_PER_KWH, price / MICRO)
            for side, kwh, price in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
        ]

    def forecasts(self, first: int, stream: str) -> dict[int, list[float]]:
        """Forecasts [kWh] of the ``per_day`` intervals from ``t`` on, by the midnights from
        ``first`` on. Models forecast half hours: within one, power is constant.
        """
        rows = self._db.execute(
            'SELECT t, "values" FROM forecasts WHERE t >= ? AND stream = ? ORDER BY t',
            (first, stream),
        )
        return {t: _spread(array("f", values), self.per_day) for t, values in rows}

    def month_ahead(self) -> MonthAhead | None:
        """What the newest model received expects of a month; None where none has been."""
        row = self._db.execute("SELECT t, consumption, price FROM month_ahead").fetchone()
        return None if row is None else self.spread(row[0], array("f", row[1]), array("f", row[2]))

    def spread(self, t: int, consumption: Sequence[float], price: Sequence[float]) -> MonthAhead:
        """A month by half hours from interval ``t`` on, by intervals of the run."""
        count = len(consumption) * self.per_day // _HALF_HOURS_A_DAY
        ratio = len(price) / count
        prices = [one / ratio for one in _spread(price, count)]
        return MonthAhead(t, _spread(consumption, count), prices)

    def tariff(self) -> dict[str, float]:
        """What prices are made of, {} where that is not kept: see ``State.set_tariff``."""
        found = self._db.execute("SELECT parts FROM tariff").fetchone()
        return {} if found is None else dict(json.loads(found[0]))

    def statements(self) -> list[tuple[str, str, str]]:
        """(Month, statement, its hash) of the closed months kept, in order."""
        return self._db.execute("SELECT * FROM statements ORDER BY month").fetchall()

    def models(self) -> list[tuple[int, int]]:
        """(Round, interval after which it came) of the shared models received, in order."""
        return [(r, t) for r, t in self._db.execute("SELECT round, t FROM models ORDER BY round")]


@contextmanager
def opened(home: Path) -> Iterator[Books | None]:
    """The records of the household in folder ``home``; None where no run has begun.

    Raises InputError for a file that cannot be read at the moment.
    """
    with opened_file(home / "state" / "household.sqlite") as books:
        yield books


@contextmanager
def opened_file(path: Path, zone: tzinfo | None = None) -> Iterator[Books | None]:
    """The same of the records in a file, in the local time of ``zone``."""
    if not path.exists():
        yield None
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
            db.execute("BEGIN")  # one moment, whatever is written meanwhile
            books = Books(db, zone)
            yield books if "start" in books.about else None
    except sqlite3.Error as error:
        raise InputError(f"{path}: {error}; fedwatt-client start brings it up to date") from None


def kept_statements(home: Path) -> list[tuple[str, str, str, float]]:
    """(Month, statement, its hash, total owed [currency]) of the months kept, in order.

    Raises InputError for a file that cannot be read at the moment.
    """
    with opened(home) as books:
        kept = [] if books is None else books.statements()
    return [(month, text, h, read_statement(text).total / MICRO) for month, text, h in kept]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _spread(values: Sequence[float], count: int) -> list[float]:
    """The same energy in ``count`` steps instead."""
    if len(values) == count:
        return list(values)
    ratio = len(values) / count
    return [_between(values, i * ratio, (i + 1) * ratio) for i in range(count)]


def _between(values: Sequence[float], begin: float, end: float) -> float:
    whole = range(int(begin), min(math.ceil(end), len(values)))
    return math.fsum(values[i] * (min(end, i + 1) - max(begin, i)) for i in whole)
