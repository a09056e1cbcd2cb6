"""The homes of a cell: readings under a dial, what may be trained on, and the held-out days.

The held-out days end at a date drawn from the seed, so that repetitions differ in season as well
as in their draws; training ends where they begin.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.cadence import HALF_HOUR
from common.data.frame import APPLIANCES, COLUMNS, Household
from common.errors import InputError
from common.forecast.baselines import mean_7_days
from common.forecast.history import History, history_of
from common.forecast.inputs import target_units
from common.forecast.metrics import weekly_naive_scale
from common.forecast.presets import find_preset
from common.forecast.scalers import Scaler, fit_scaler
from common.forecast.windows import Batch, Rows, Windows, training_windows
from common.named import named
from common.rng import generator
from simulations.benchmarks.strategies.dials import Dial
from simulations.homes import load_households

DAY = HALF_HOUR.per_day
_EV_KWH = 3.5  # half an hour at 7 kW
_PV_KW = 4.0
_PERFORMANCE = 0.8  # of panels against their rating under 1000 W/m2


@dataclass(frozen=True)
class Phase:
    """A home's windows to train on, and its held-out days, from one round on.

    ``actual`` (D, 48) kWh; ``baseline`` (D, 48): the mean of the 7 days before; ``scale``: the
    weekly naive error of the days before them, for MASE. ``check`` and ``check_actual`` (C, 48):
    the days that say which round's model counts, between the two; None: there are none.
    """

    train: Windows
    test: Batch
    actual: Floats
    baseline: Floats
    scale: float
    check: Batch | None
    check_actual: Floats


@dataclass(frozen=True)
class Home:
    """One household of a cell. ``after``: as it is once its day has moved. ``source``: where its
    readings are from; ``newcomer``: it has just begun to measure."""

    name: str
    before: Phase
    after: Phase
    drift_round: int
    kwh_per_unit: float
    offset: float
    source: str
    newcomer: bool

    def phase(self, round_: int) -> Phase:
        """The home as it is in a round."""
        return self.after if round_ >= self.drift_round else self.before


@dataclass(frozen=True)
class Span:
    """Rows: history before ``first`` is context only, held-out days begin at ``cut``, and end at
    ``end``."""

    first: int
    cut: int
    end: int


@lru_cache(maxsize=2)
def households_of(data: str, count: int, days: int, timezone: str | None) -> list[Household]:
    """Load the homes once a process. Synthetic homes are those of seed 0."""
    return load_households(data, households=count, days=days, seed=0, timezone=timezone)


def sources_of(data: str) -> tuple[str, str | None]:
    """The source, and that of another climate where ``A,B`` names two. Raises InputError."""
    first, *others = [part.strip() for part in data.split(",")]
    if len(others) > 1:
        raise InputError(f"--data {data!r}: two sources at most")
    return first, others[0] if others else None


def gathered(
    data: str, count: int, days: int, timezone: str | None, climate_share: float
) -> list[tuple[str, Household]]:
    """The homes of a community with their sources: a share is of the second, named after it.

    Of each source they are the first by name. Raises InputError where there is no second.
    """
    first, second = sources_of(data)
    abroad = round(climate_share * count)
    homes = []
    if count > abroad:
        own = households_of(first, count - abroad, days, timezone)
        homes = [(first, household) for household in own]
    if not abroad:
        return homes
    if second is None:
        raise InputError(f"climate_share = {climate_share}: --data {data!r} names no second source")
    label = Path(second).name
    return homes + [
        (second, replace(household, name=f"{label}-{household.name}"))
        for household in households_of(second, abroad, days, timezone)
    ]


def span_of(
    household: Household, seed: int, train_days: int, test_days: int, before_seeds: int = 0
) -> Span:
    """Draw the span of a repetition; it begins and ends at local midnight. ``before_seeds``: as in
    ``Setup``; the span is then the same for all seeds.

    Raises InputError for readings too short for it.
    """
    if before_seeds:
        spans = [span_of(household, s, train_days, test_days) for s in range(before_seeds)]
        first = min(spans, key=lambda one: one.cut)
        return Span(first.first, first.cut - test_days * DAY, first.cut)
    index = household.frame.index
    assert isinstance(index, pd.DatetimeIndex)
    local = index.tz_convert(household.timezone)
    midnights = np.flatnonzero((local.hour == 0) & (local.minute == 0))
    needed = train_days + test_days
    latest = midnights[(midnights <= len(index) - test_days * DAY - 2)]
    possible = latest[latest >= needed_rows(train_days)]
    if not len(possible):
        raise InputError(
            f"household {household.name}: {len(index) / DAY:.0f} days of readings do not hold "
            f"{needed} days of training, choice and test after 28 days of history"
        )
    cut = int(possible[generator(seed, "", 0, "held-out days").integers(len(possible))])
    return Span(cut - train_days * DAY, cut, cut + test_days * DAY)


def days_read(known_days: int, test_days: int) -> int:
    """Days of readings that synthetic homes are made of: room for the seeds' spans to differ."""
    return known_days + test_days + 120


def needed_rows(train_days: int) -> int:
    """Rows before the held-out days: four weeks of context and the training days."""
    return (28 + train_days) * DAY


def changed(household: Household, dial: Dial, seed: int, names: list[str]) -> History:
    """The home's readings under the dial, before any drift."""
    history = history_of(household)
    values = history.values.copy()
    name = household.name
    loads = values[:, : len(APPLIANCES)]
    loads *= dial.size_factor(seed, name)
    if name in dial.chosen(dial.ev_share, seed, names, "charger"):
        loads[:, APPLIANCES.index("ev_charging")] += _charging(history, seed, name)
    if name in dial.chosen(dial.pv_share, seed, names, "panels"):
        irradiance = values[:, COLUMNS.index("solar_irradiance")]
        output = _PV_KW * _PERFORMANCE * irradiance / 1000.0 / 2.0
        total = loads.sum(axis=1)
        left = np.maximum(total - output, 0.0)
        loads *= np.divide(left, total, out=np.zeros_like(left), where=total > 0)[:, None]
    if dial.change is not None:
        rng = generator(seed, name, 0, "a change of one's own")
        named(dial.change, "change")(loads, history.index.tz_convert(history.timezone), rng)
        if not (np.isfinite(loads).all() and (loads >= 0).all()):
            raise InputError(f"change = {dial.change!r}: {name}: loads below 0 or not finite")
    return History(values, history.index, history.timezone, history.lags)


def _charging(history: History, seed: int, name: str) -> Floats:
    """A car that is plugged in between 18:00 and 23:00 on six evenings of ten, for 1 to 3 hours."""
    rng = generator(seed, name, 0, "charging")
    local = history.index.tz_convert(history.timezone)
    load = np.zeros(len(history))
    for row in np.flatnonzero((local.hour == 18) & (local.minute == 0)):
        at, length = row + int(rng.integers(10)), int(rng.integers(2, 7))
        if rng.random() < 0.6:
            load[at : at + length] = _EV_KWH
    return load


def _moved(history: History, hours: int) -> History:
    """The same home with every day's load ``hours`` later."""
    values = history.values.copy()
    loads = slice(0, len(APPLIANCES))
    values[:, loads] = np.roll(values[:, loads], 2 * hours, axis=0)
    return History(values, history.index, history.timezone, history.lags)


def _since(history: History, start: int) -> History:
    """The same home as if it had begun to measure at row ``start``.

    What lies before repeats its first day, as models read a history that begins there
    (``common.forecast.inputs.past_block``).
    """
    values = history.values.copy()
    values[:start] = values[start : start + DAY][(np.arange(start) - start) % DAY]
    return History(values, history.index, history.timezone, history.lags)


def _mean_of_days(load: Floats, start: int, row: int) -> Floats:
    """(48,) mean of the same slot over the last 7 days, or over those since row ``start``."""
    days = min(7, (row - start) // DAY)
    return np.asarray(load[row - days * DAY : row].reshape(days, DAY).mean(axis=0))


def _phase(
    history: History,
    scaler: Scaler,
    preset: str,
    span: Span,
    begin: int,
    stop: int,
    start: int | None,
) -> Phase:
    """``begin``, ``stop``: rows to train on; ``start``: of a newcomer, the first row measured."""
    if start is not None:
        known = _since(history, start)
        load, scale_of, history = known.consumption(0, span.end), history, known
    else:
        load, scale_of = history.consumption(0, span.end), history
    test, at = _days(history, scaler, preset, span.cut, span.end)
    check: Batch | None = None
    check_at: list[int] = []
    if stop < span.cut:
        check, check_at = _days(history, scaler, preset, stop, span.cut)
    used = np.array([load[row : row + DAY] for row in check_at]).reshape(-1, DAY)
    if used.sum() <= 0.0:
        check = None  # no error can be related to a load that is none
    return Phase(
        train=training_windows(history, scaler, preset, begin, stop),
        test=test,
        actual=np.stack([load[row : row + DAY] for row in at]),
        baseline=np.stack(
            [
                mean_7_days(load[:row], DAY) if start is None else _mean_of_days(load, start, row)
                for row in at
            ]
        ),
        scale=weekly_naive_scale(scale_of.consumption(span.first, span.cut)),
        check=check,
        check_actual=used,
    )


def _days(
    history: History, scaler: Scaler, preset: str, first: int, end: int
) -> tuple[Batch, list[int]]:
    """Inputs at each local midnight from row ``first`` on, and these rows."""
    windows = training_windows(history, scaler, preset, first, end).every(DAY)
    days: Rows = np.arange(len(windows))
    return windows.batch(days, horizons=("day",)), [first + DAY * int(day) for day in days]


@lru_cache(maxsize=2)
def homes_of(
    data: str,
    count: int,
    timezone: str | None,
    preset: str,
    train_days: int,
    test_days: int,
    dial: Dial,
    seed: int,
    before_seeds: int = 0,
    check_days: int = 0,
) -> list[Home]:
    """All homes of a cell; ``dial`` is the part that changes data. Who has just begun to measure
    keeps no more than a quarter of its days apart."""
    known_days = train_days + check_days
    days = days_read(known_days, test_days)
    households = gathered(data, count, days, timezone, dial.climate_share)
    names = [household.name for _, household in households]
    moved, new = dial.drifted(seed, names), dial.newcomers(seed, names)
    homes = []
    for source, household in households:
        span = span_of(household, seed, known_days, test_days, before_seeds)
        history = changed(household, dial, seed, names)
        if before_seeds:
            # Days that are reported one day are not even here when something is chosen.
            history = until(history, span.end)
        start, first = None, span.first
        stop = span.cut - check_days * DAY
        begin = stop - max(2 * DAY, round((stop - first) * dial.kept_share(seed, household.name)))
        if household.name in new:
            start = first = span.cut - dial.newcomer_days * DAY
            stop = span.cut - min(check_days, dial.newcomer_days // 4) * DAY
            # As `training_windows` does where a history begins: a week of past, or a day.
            begin = start + (7 * DAY if stop - start > 8 * DAY else DAY)
        scaler = fit_scaler(history, first, stop)
        before = _phase(history, scaler, preset, span, begin, stop, start)
        after, drift_round = before, 2**31
        if household.name in moved:
            late = _moved(history, dial.drift_hours)
            after = _phase(late, scaler, preset, span, begin, stop, start)
            drift_round = dial.drift_round
        offset, unit = target_units(scaler, find_preset(preset))
        homes.append(
            Home(
                household.name, before, after, drift_round, float(unit[0]), float(offset[0]),
                source, household.name in new,
            )
        )  # fmt: skip
    return homes


def until(history: History, end: int) -> History:
    """The rows before ``end``."""
    lags = None if history.lags is None else history.lags[:end]
    return History(history.values[:end], history.index[:end], history.timezone, lags)
