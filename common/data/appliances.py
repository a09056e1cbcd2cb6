"""What nine appliances draw, given who is at home and what the weather does.

A diary holds a home's traits and the draws of its days; ``use`` turns it into energy. All arrays
run over local days (D) and half hours (48), flattened to D * 48 local half hours where an event
may pass midnight.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.frame import DAY
from common.data.weather import WARM_UP_DAYS, Weather, moving_sum
from common.rng import generator

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_UNIFORMS = 64
_NORMALS = 16
_HOURS = (np.arange(DAY) + 0.5) / 2


@dataclass(frozen=True)
class Traits:
    """What stays the same in one home. Hours are local; powers in kW."""

    people: int
    activity: float  # how much of everything these people do, 1 on average
    standby_kw: float
    away_on_workdays: float  # probability
    wake: float
    leave: float
    back: float
    bed: float
    trips_per_day: float
    light_kw: float
    screen_kw: float
    fridge_kw: float
    fridge_hours: float
    fridge_duty: float
    phase: float
    electric_stove: float
    electric_water: float
    night_timer: bool
    heater_kw: float
    owns_dishwasher: bool
    owns_dryer: bool
    setpoint: float
    habit: float  # 0: every day is new, 1: every day is like the day before


@dataclass(frozen=True)
class Diary:
    """Traits and draws of one home; D days, the first WARM_UP_DAYS of them only for memory."""

    traits: Traits
    uniform: Array  # (D, _UNIFORMS)
    normal: Array  # (D, _NORMALS)
    ticks: Array  # (D, 48) uniform
    workday: Mask  # (D,)
    take: NDArray[np.int64]  # (T,) local half hour of each interval of the frame
    empty: Mask  # (D,) nobody at home: a journey
    active: Array  # (D, 48) share of the people at home and awake


def _traits(rng: np.random.Generator) -> Traits:
    people = int(rng.choice([1, 2, 3, 4, 5], p=[0.30, 0.35, 0.16, 0.13, 0.06]))
    works = rng.random() < 0.62
    wake = 7.0 + 0.8 * rng.standard_normal()
    return Traits(
        people=people,
        activity=float(np.exp(0.35 * rng.standard_normal() - 0.06)) * (0.55 + 0.25 * people),
        standby_kw=0.035 * float(np.exp(0.7 * rng.standard_normal())) * (0.7 + 0.15 * people),
        away_on_workdays=0.8 if works else 0.2,
        wake=wake,
        leave=wake + 1.0 + 0.5 * rng.random(),
        back=17.5 + 1.2 * rng.standard_normal(),
        bed=23.0 + 0.9 * rng.standard_normal(),
        trips_per_day=0.012 * rng.random(),
        light_kw=0.12 * float(np.exp(0.5 * rng.standard_normal())),
        screen_kw=0.12 * float(np.exp(0.5 * rng.standard_normal())),
        fridge_kw=rng.uniform(0.06, 0.12),
        fridge_hours=rng.uniform(0.6, 1.2),
        fridge_duty=rng.uniform(0.3, 0.5),
        phase=rng.random(),
        electric_stove=rng.choice([0.25, 1.0], p=[0.45, 0.55]),
        electric_water=rng.choice([0.0, 0.35, 1.0], p=[0.55, 0.3, 0.15]),
        night_timer=bool(rng.random() < 0.5),
        heater_kw=rng.choice([0.0, 0.6, 1.5], p=[0.6, 0.28, 0.12]),
        owns_dishwasher=bool(rng.random() < 0.4),
        owns_dryer=bool(rng.random() < 0.45),
        setpoint=24.0 + rng.standard_normal(),
        habit=rng.random(),
    )


def diary(seed: int, name: str, rng: np.random.Generator, local: pd.DatetimeIndex) -> Diary:
    """Return the diary of home ``name`` for the local half hours ``local`` (T,)."""
    traits = _traits(rng)
    start = local[0].toordinal() - WARM_UP_DAYS
    days = local[-1].toordinal() - start + 1
    uniform = np.empty((days, _UNIFORMS))
    normal = np.empty((days, _NORMALS))
    ticks = np.empty((days, DAY))
    for d in range(days):
        draw = generator(seed, name, start + d, "day")
        uniform[d] = draw.random(_UNIFORMS)
        normal[d] = draw.standard_normal(_NORMALS)
        ticks[d] = draw.random(DAY)
    wall = local.tz_localize(None)
    origin = pd.Timestamp.fromordinal(start)
    take = np.asarray((wall - origin) // pd.Timedelta(minutes=30), dtype=np.int64)
    workday = (np.arange(start, start + days) + 6) % 7 < 5
    # A journey of 2 to 14 days; none lasts longer than the warm-up.
    begins = uniform[:, 0] < traits.trips_per_day
    lasts = 2 + (uniform[:, 1] ** 2 * 12).astype(np.int64)
    empty = np.zeros(days, dtype=np.bool_)
    for d in np.flatnonzero(begins).tolist():
        empty[d : d + lasts[d]] = True
    active = _active(traits, uniform, normal, workday, empty)
    return Diary(traits, uniform, normal, ticks, workday, take, empty, active)


def _active(traits: Traits, uniform: Array, normal: Array, workday: Mask, empty: Mask) -> Array:
    """(D, 48): 1 where somebody is at home and awake, less when some are out."""
    late = np.where(workday, 0.0, 1.0)
    wake = traits.wake + late * 1.2 + 0.5 * normal[:, 0]
    bed = traits.bed + late * 0.4 + 0.6 * normal[:, 1]
    before = np.concatenate([bed[:1], bed[:-1]])
    hour = _HOURS[None, :]
    awake = ((hour >= wake[:, None]) & (hour < bed[:, None])) | (hour + 24 < before[:, None])
    works = workday & (uniform[:, 2] < traits.away_on_workdays)
    leave = np.where(works, traits.leave + 0.3 * normal[:, 2], 10.0 + 5.0 * uniform[:, 3])
    back = np.where(works, traits.back + 0.8 * normal[:, 3], leave + 1.0 + 4.0 * uniform[:, 4])
    goes = works | (uniform[:, 5] < 0.55)
    out = goes[:, None] & (hour >= leave[:, None]) & (hour < back[:, None])
    remain = 0.0 if traits.people == 1 else 0.25
    return np.where(awake & ~empty[:, None], np.where(out, remain, 1.0), 0.0)


def deposit(size: int, start: Array, hours: Array | float, kw: Array | float) -> Array:
    """Return (size,) kWh of events that begin at ``start`` [half hours] and draw ``kw`` evenly.

    Energy is split over half hours by overlap; what lies beyond the end is cut off.
    """
    start, length, power = np.broadcast_arrays(start, np.asarray(hours) * 2.0, kw)
    total = np.zeros(size + 1)
    if start.size == 0:
        return total[:size]
    first = np.floor(start).astype(np.int64)
    for step in range(int(np.ceil(length.max())) + 1):
        slot = first + step
        overlap = np.minimum(start + length, slot + 1) - np.maximum(start, slot)
        energy = power * 0.5 * np.clip(overlap, 0.0, None)
        total += np.bincount(np.clip(slot, 0, size), energy, minlength=size + 1)
    return total[:size]


def _cycling(traits: Traits, index: pd.DatetimeIndex) -> Array:
    """(T,) kWh of a compressor that runs ``duty`` of each period: exact over every slot."""
    hours = index[0].timestamp() / 3600 + np.arange(len(index) + 1) / 2
    cycle = hours / traits.fridge_hours + traits.phase
    whole = np.floor(cycle)
    on = whole * traits.fridge_duty + np.minimum(cycle - whole, traits.fridge_duty)
    return np.diff(on) * traits.fridge_hours * traits.fridge_kw


def use(day: Diary, sky: Weather, *, ev: bool, ac: bool) -> dict[str, Array]:
    """Return the nine appliances, each (T,) kWh per interval."""
    t = day.traits
    u, z = day.uniform, day.normal
    days = len(u)
    size = days * DAY
    midnight: Array = np.arange(days) * float(DAY)
    home = ~day.empty
    active = day.active
    flat = active.reshape(-1)
    # Some weeks are busier than others.
    busy = np.concatenate([np.zeros(WARM_UP_DAYS), moving_sum(z[:, 4])])
    busy = np.exp(0.25 * busy - 0.03) * t.activity

    def events(column: int, chance: Array | float, hour: Array, hours: Array | float,
               kw: Array | float, extra: Mask | bool = True) -> Array:  # fmt: skip
        happen = home & (u[:, column] < chance) & extra
        start = midnight + np.clip(hour, 0.0, None) * 2
        lasts = np.broadcast_to(hours, (days,))[happen]
        power = np.broadcast_to(kw, (days,))[happen]
        return deposit(size, start[happen], lasts, power)

    people = t.people
    evening = np.maximum(t.back + 0.8, 18.0) + 0.7 * z[:, 5]
    stove = events(10, 0.9, evening, 0.5 + 0.6 * u[:, 11], 0.9 * busy * t.electric_stove)
    lunch_kw = 0.8 * busy * t.electric_stove
    lunch = ~day.workday | (t.away_on_workdays < 0.5)
    stove += events(12, 0.5, 12.6 + 0.6 * z[:, 6], 0.2 + 0.4 * u[:, 13], lunch_kw, lunch)
    stove += events(14, 0.6, t.wake + 0.5 + 0.3 * z[:, 7], 0.15, 1.2 * t.electric_stove)

    washes = np.clip(0.12 + 0.11 * people, 0, 0.9) * np.where(day.workday, 0.85, 1.35)
    wash_hour = np.where(u[:, 15] < 0.5, 8.5 + 4 * u[:, 16], 16.5 + 4 * u[:, 16])
    washing = events(17, washes, wash_hour, 0.3, 1.9) + events(
        17, washes, wash_hour + 0.3, 1.1, 0.2
    )
    if t.owns_dryer:
        washing += events(17, 0.7 * washes, wash_hour + 1.6, 0.8 + 0.4 * u[:, 18], 1.9)

    dishes = events(19, 0.25 + 0.12 * people, 20.2 + 0.8 * z[:, 8], 0.35, 1.8)
    dishes += events(19, 0.25 + 0.12 * people, 21.0 + 0.8 * z[:, 8], 0.3, 1.4)

    screens = t.screen_kw * flat * (0.4 + 1.2 * day.ticks.reshape(-1)) * np.repeat(busy, DAY) * 0.5

    # Small things of a minute to a quarter of an hour: kettle, microwave, iron, vacuum cleaner.
    small = np.where(day.ticks < 0.16 * active, 1.4 * day.ticks / 0.16, 0.0) * busy[:, None] * 0.25

    water = np.zeros(size)
    if t.electric_water > 0:
        litres = 35.0 * people * np.exp(0.25 * z[:, 9])
        heat = 4.186 / 3600 * litres * 38.0 * t.electric_water * home
        if t.night_timer:
            water = deposit(size, midnight + 1.0 + 2 * t.phase, heat / 2.8, 2.8)
        else:
            morning = midnight + 2 * (t.wake + 0.2 * z[:, 10])
            water = deposit(size, morning, 0.5 * heat / 2.8, 2.8)
            water += deposit(size, midnight + 2 * evening, 0.5 * heat / 2.8, 2.8)

    car = np.zeros(size)
    if ev:
        kw = 7.2 if t.phase > 0.3 else 3.6
        hour = 24.5 if t.night_timer else evening
        need = np.clip(9.0 * np.exp(0.6 * z[:, 11]), 1.0, 40.0)
        car = events(20, np.where(day.workday, 0.5, 0.4), np.full(days, hour), need / kw, kw)

    take = day.take
    cold = np.clip((12.0 - sky.temperature) / 12.0, 0.0, 1.2)
    dark = 1.0 - np.clip(sky.ghi / 80.0, 0.0, 1.0)
    at_home = flat[take]
    light = t.light_kw * (0.4 + 0.3 * people) * dark * at_home * 0.5
    heater = t.heater_kw * cold * at_home * 0.5 * np.repeat(busy > t.activity, DAY)[take]
    cooling = np.zeros(len(take))
    if ac:
        demand = np.clip((sky.temperature - t.setpoint) / 8.0, 0.0, 1.0)
        cooling = 1.8 * demand * (0.25 + 0.75 * at_home) * 0.5 * np.repeat(home, DAY)[take]
    warm_fridge = 1 + 0.015 * (sky.temperature - 12.0)
    fridge = _cycling(t, sky.index) * np.clip(warm_fridge, 0.7, 1.5)
    return {
        "fridge": fridge,
        "washing_machine": washing[take],
        "dishwasher": dishes[take] * t.owns_dishwasher,
        "ev_charging": car[take],
        "ac": cooling,
        "stove": stove[take],
        "water_heater": water[take],
        "computers": screens[take],
        "misc": t.standby_kw * 0.5 + light + heater + small.reshape(-1)[take],
    }
