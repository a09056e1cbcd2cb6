"""What there is to see of a household: its meters now, its intervals, trades, bills and model.

All of it comes from the household's own folder, and goes nowhere but to its page and its own Home
Assistant.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from fl_client.control.record import COMMAND, RECORD, Command, Override, Record, Snapshot
from fl_client.home.clock import HouseClock
from fl_client.home.mapping import ENERGIES, MAPPING, Channel, read_mapping
from fl_client.home.store import STORE, Store
from fl_client.host.books import Books, Fill, Interval, Order, opened
from fl_client.host.month_bill import MonthBill, month_bill
from fl_client.host.own_bill import NOTHING_OWED, OwnBill, own_bill, saved_by

_DOUBTS_S = 86400.0
# Power is what registers counted over so many seconds at least, and at most.
_LEAST_S, _MOST_S = 60.0, 1800.0
_BEFORE = 64
_COMPARED_DAYS = 28
_MEAN_DAYS = 7
_COMMANDS = 50


class Meter(NamedTuple):
    """What a channel said last. ``kw``: mean power of a register's last minutes, nan unknown."""

    role: str
    where: str
    value: float
    kind: str
    kw: float
    age_s: float
    doubt: str


class Errors(NamedTuple):
    """Mean absolute errors [kWh per interval] of forecasts issued at midnight, over ``days``:
    the shared model's, and those of the mean of up to seven days before."""

    model: float
    own_days: float
    days: int


@dataclass(frozen=True)
class HouseView:
    """Everything as it is at ``now`` [s since 1970] of the home's clock, which runs at ``speed``.

    ``present``: the newest interval decided, ``step`` long; ``today``: those of its local day;
    ``forecast``: use [kWh] by interval as the model said at midnight, or, ``own_days``, as the days
    before were. ``fills``: trades of the
    day, by interval. ``expected``: what the month should cost, None where there is no model or less
    than a day of records. ``saved``: by trading, today and this month; ``earned``: by the shared
    model this month. ``models``: rounds received, and
    when the newest came. ``totals``: kWh from and to neighbours since the run began. ``battery``,
    ``override``, ``commands``: of its control, the newest command first.
    """

    name: str
    now: float
    speed: float = 1.0
    meters: list[Meter] = field(default_factory=list)
    sources: list[tuple[str, str, float]] = field(default_factory=list)
    present: Interval | None = None
    step: timedelta = timedelta(minutes=30)
    today: list[Interval] = field(default_factory=list)
    own_days: bool = False
    forecast: dict[int, float] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    fills: dict[int, Fill] = field(default_factory=dict)
    bill_today: OwnBill = NOTHING_OWED
    bill_month: OwnBill = NOTHING_OWED
    expected: MonthBill | None = None
    saved: tuple[float | None, float | None] = (None, None)
    earned: float | None = None
    totals: tuple[float, float] = (0.0, 0.0)
    models: int = 0
    model_came: datetime | None = None
    errors: Errors | None = None
    battery: Snapshot | None = None
    override: Override | None = None
    commands: list[Command] = field(default_factory=list)

    @property
    def commanded(self) -> bool:
        """Whether the battery is the household's to drive; else what it does is part of its use."""
        return self.battery is not None and self.battery.mode == COMMAND

    @property
    def last_settled(self) -> Interval | None:
        """The newest interval of today that is settled."""
        return next((one for one in reversed(self.today) if one.settled), None)

    def kw(self, role: str) -> float:
        """Mean power of a role's meters now, nan where one has said nothing lately."""
        found = [one.kw for one in self.meters if one.role == role]
        return math.fsum(found) if found else math.nan

    def level(self, role: str) -> float:
        """What a role's meter says, nan where there is none."""
        return next((one.value for one in self.meters if one.role == role), math.nan)


def look(home: Path, name: str, clock: HouseClock) -> HouseView:
    """Read the folder as it is now. Raises InputError."""
    now = clock.now()
    meters, sources = _meters(home, now)
    seen = _with_control(home, HouseView(name, now, clock.speed, meters, sources))
    with opened(home) as books:
        newest = -1 if books is None else books.newest()
        if books is None or newest < 0:
            return seen
        seen = _with_books(books, newest, seen)
    return seen if seen.forecast else _with_own_days(home, seen)


def _with_own_days(home: Path, seen: HouseView) -> HouseView:
    """Expect what the same times of up to seven days before had, where meters have told it."""
    store_file, one = home / STORE, seen.today[0]
    if not (home / MAPPING).exists() or not store_file.exists():
        return seen
    minutes = round(seen.step.total_seconds() / 60)
    midnight = one.begins.replace(hour=0, minute=0, second=0)
    first, day = round(midnight.timestamp()), 86400
    store = Store(store_file)
    try:
        known = {
            role: {m.start: m.kwh for m in store.intervals(role, minutes, first - 7 * day, first)}
            for role in ENERGIES
        }
    finally:
        store.close()
    added = {"import": 1, "export": -1, "pv": 1}
    if seen.commanded:
        added |= {"discharge": 1, "charge": -1}
    load = {
        start: math.fsum(sign * known[role].get(start, 0.0) for role, sign in added.items())
        for start in known["import"]
    }
    expected = {}
    for step in range(round(day / (60 * minutes))):
        at = first + step * 60 * minutes
        past = [
            load[at - back * day] for back in range(1, _MEAN_DAYS + 1) if at - back * day in load
        ]
        if past:
            t = one.t + round((at - one.begins.timestamp()) / (60 * minutes))
            expected[t] = max(statistics.fmean(past), 0.0)
    return replace(seen, forecast=expected, own_days=True)


def _with_control(home: Path, seen: HouseView) -> HouseView:
    if not (home / RECORD).exists():
        return seen
    record = Record(home)
    try:
        return replace(
            seen,
            battery=record.snapshot(),
            override=record.override(seen.now),
            commands=record.commands(most=_COMMANDS),
        )
    finally:
        record.close()


def _with_books(books: Books, newest: int, seen: HouseView) -> HouseView:
    begins = books.begins(newest)
    # The month may have begun before the run.
    day = books.per_day
    month = newest - (begins.day + 1) * day
    first = max(min(month, newest - (_COMPARED_DAYS + _MEAN_DAYS) * day), 0)
    lived = books.intervals(first)
    of_month = [o for o in lived if (o.begins.year, o.begins.month) == (begins.year, begins.month)]
    today = [o for o in of_month if o.begins.date() == begins.date()]
    fills = books.fills(of_month[0].t)
    models, tariff = books.models(), books.tariff()
    forecasts = books.forecasts(max(newest - _COMPARED_DAYS * day, 0), "consumption_day")
    midnight = max((t for t in forecasts if t <= newest < t + day), default=None)
    bought, sold = books.traded()
    return replace(
        seen,
        step=books.step,
        present=lived[-1],
        today=today,
        forecast={}
        if midnight is None
        else {midnight + step: kwh for step, kwh in enumerate(forecasts[midnight])},
        orders=books.orders(newest),
        fills={t: fill for t, fill in fills.items() if t >= today[0].t},
        bill_today=own_bill(today, fills, tariff),
        bill_month=own_bill(of_month, fills, tariff),
        expected=month_bill(books, lived, books.month_ahead(), tariff),
        saved=(
            saved_by(today, "shadow_cost", "cost"),
            saved_by(of_month, "shadow_cost", "cost"),
        ),
        earned=saved_by(of_month, "unaided_cost", "shadow_cost") if models else None,
        totals=(bought, sold),
        models=len(models),
        model_came=books.begins(models[-1][1]) if models else None,
        errors=_errors(lived, forecasts, day),
    )


def _errors(
    lived: Sequence[Interval], forecasts: dict[int, list[float]], day: int
) -> Errors | None:
    """How far off the model and the household's own recent days were, where both can be told."""
    load = {one.t: one["load"] for one in lived if one.settled and math.isfinite(one["load"])}
    model, own, days = [], [], 0
    for t, ahead in forecasts.items():
        # What is still running when the forecast is made was not known to anybody then.
        past = {
            step: [load[at] for at in range(t + step - _MEAN_DAYS * day, t - 1, day) if at in load]
            for step in range(len(ahead))
        }
        if not all(t + step in load and past[step] for step in past):
            continue
        days += 1
        model += [abs(kwh - load[t + step]) for step, kwh in enumerate(ahead)]
        own += [abs(statistics.fmean(past[step]) - load[t + step]) for step in past]
    return Errors(statistics.fmean(model), statistics.fmean(own), days) if days else None


def _meters(home: Path, now: float) -> tuple[list[Meter], list[tuple[str, str, float]]]:
    if not (home / MAPPING).exists() or not (home / STORE).exists():
        return [], []
    channels = read_mapping(home / MAPPING)
    store = Store(home / STORE)
    try:
        doubts = {name: words for name, _, words in store.doubts(now - _DOUBTS_S)}
        found = [_meter(store, one, now, doubts.get(one.name, "")) for one in channels]
        states = [(name, state, now - since) for name, (state, since) in store.states().items()]
    finally:
        store.close()
    return [one for one in found if one is not None], states


def _meter(store: Store, one: Channel, now: float, doubt: str) -> Meter | None:
    said = store.newest(one.name)
    where = f"{one.address} {one.field}".strip().replace("\n", " ")
    if said is None:
        return Meter(one.role, where, math.nan, one.kind, math.nan, math.nan, doubt)
    kw = said.value if one.kind == "power" else math.nan
    if one.kind == "register" and now - said.measured < _MOST_S:
        series = store.series(one.name, said.measured - _LEAST_S, _BEFORE)
        span = said.measured - series.measured
        enough = [i for i in range(len(span)) if _LEAST_S <= span[i] <= _MOST_S]
        if enough:
            counted = float(said.value - series.value[enough[-1]])
            kw = max(counted, 0.0) / float(span[enough[-1]]) * 3600.0
    return Meter(one.role, where, said.value, one.kind, kw, now - said.measured, doubt)
