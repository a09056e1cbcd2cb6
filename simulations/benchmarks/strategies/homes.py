"""The homes of a cell: readings under a dial, what may be trained on, and the held-out days.

The held-out days end at a date drawn from the seed, so that repetitions differ in season as well
as in their draws; training ends where they begin.
"""

from dataclasses import dataclass
from functools import lru_cache

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
    weekly naive error of the training span, for MASE.
    """

    train: Windows
    test: Batch
    actual: Floats
    baseline: Floats
    scale: float


@dataclass(frozen=True)
class Home:
    """One household of a cell. ``after``: as it is once its day has moved."""

    name: str
    before: Phase
    after: Phase
    drift_round: int
    kwh_per_unit: float
    offset: float

    def phase(self, round_: int) -> Phase:
        """The home as it is in a round."""
        return self.after if round_ >= self.drift_round else self.before


@dataclass(frozen=True)
class Span:
    """Rows: history before ``first`` is context only, training ends at ``cut``, test at ``end``."""

    first: int
    cut: int
    end: int


@lru_cache(maxsize=1)
def households_of(data: str, count: int, days: int, timezone: str | None) -> list[Household]:
    """Load the homes once a process. Synthetic homes are those of seed 0."""
    return load_households(data, households=count, days=days, seed=0, timezone=timezone)


def span_of(household: Household, seed: int, train_days: int, test_days: int) -> Span:
    """Draw the span of a repetition; it begins and ends at local midnight.

    Raises InputError for readings too short for it.
    """
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
            f"{needed} days of training and test after 28 days of history"
        )
    cut = int(possible[generator(seed, "", 0, "held-out days").integers(len(possible))])
    return Span(cut - train_days * DAY, cut, cut + test_days * DAY)


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


def _phase(history: History, scaler: Scaler, preset: str, span: Span, kept: float) -> Phase:
    begin = span.cut - max(2 * DAY, round((span.cut - span.first) * kept))
    train = training_windows(history, scaler, preset, begin, span.cut)
    test = training_windows(history, scaler, preset, span.cut, span.end).every(DAY)
    days: Rows = np.arange(len(test))
    load = history.consumption(0, span.end)
    at = span.cut + DAY * days
    return Phase(
        train=train,
        test=test.batch(days, horizons=("day",)),
        actual=np.stack([load[row : row + DAY] for row in at]),
        baseline=np.stack([mean_7_days(load[:row], DAY) for row in at]),
        scale=weekly_naive_scale(load[span.first : span.cut]),
    )


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
) -> list[Home]:
    """All homes of a cell; ``dial`` is the part that changes data."""
    households = households_of(data, count, train_days + test_days + 120, timezone)
    names = [household.name for household in households]
    moved = dial.drifted(seed, names)
    homes = []
    for household in households:
        span = span_of(household, seed, train_days, test_days)
        history = changed(household, dial, seed, names)
        scaler = fit_scaler(history, span.first, span.cut)
        kept = dial.kept_share(seed, household.name)
        before = _phase(history, scaler, preset, span, kept)
        after, drift_round = before, 2**31
        if household.name in moved:
            late = _moved(history, dial.drift_hours)
            after, drift_round = _phase(late, scaler, preset, span, kept), dial.drift_round
        offset, unit = target_units(scaler, find_preset(preset))
        homes.append(
            Home(household.name, before, after, drift_round, float(unit[0]), float(offset[0]))
        )
    return homes
