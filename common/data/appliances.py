"""What nine appliances draw, given who is at home and what the weather does.

A diary holds the draws of a home's days; ``use`` turns it into energy. Arrays run over local days
(D) and half hours (48), flattened to D * 48 local half hours where an event may pass midnight.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from common.arrays import Floats
from common.data import traits as t
from common.data.frame import DAY
from common.data.traits import Traits
from common.data.weather import WARM_UP_DAYS, Site, Weather, moving_sum
from common.rng import generator

Mask = NDArray[np.bool_]
_UNIFORMS = 48
_NORMALS = 16
_HOURS = (np.arange(DAY) + 0.5) / 2


@dataclass(frozen=True)
class Diary:
    """The draws of one home; D days, the first WARM_UP_DAYS of them only for memory."""

    traits: Traits
    uniform: Floats  # (D, _UNIFORMS)
    normal: Floats  # (D, _NORMALS)
    ticks: Floats  # (D, 3, 48) uniform
    workday: Mask  # (D,)
    take: NDArray[np.int64]  # (T,) local half hour of each interval of the frame
    empty: Mask  # (D,) nobody at home: a journey
    active: Floats  # (D, 48) share of the people at home and awake
    busy: Floats  # (D,) how much is done, 1 on average


def diary(seed: int, name: str, home: Traits, local: pd.DatetimeIndex) -> Diary:
    """Return the diary of home ``name`` for the local half hours ``local`` (T,)."""
    start = local[0].toordinal() - WARM_UP_DAYS
    days = local[-1].toordinal() - start + 1
    uniform = np.empty((days, _UNIFORMS))
    normal = np.empty((days, _NORMALS))
    ticks = np.empty((days, 3, DAY))
    for d in range(days):
        draw = generator(seed, name, start + d, "day")
        uniform[d] = draw.random(_UNIFORMS)
        normal[d] = draw.standard_normal(_NORMALS)
        ticks[d] = draw.random((3, DAY))
    wall = local.tz_localize(None)
    origin = pd.Timestamp.fromordinal(start)
    take = np.asarray((wall - origin) // pd.Timedelta(minutes=30), dtype=np.int64)
    workday = (np.arange(start, start + days) + 6) % 7 < 5
    # A journey of 2 to 14 days; none lasts longer than the warm-up.
    lasts = 2 + (uniform[:, 1] ** 2 * 12).astype(np.int64)
    empty = np.zeros(days, dtype=np.bool_)
    for d in np.flatnonzero(uniform[:, 0] < home.journeys).tolist():
        empty[d : d + lasts[d]] = True
    mood = np.concatenate([np.zeros(WARM_UP_DAYS), moving_sum(normal[:, 4], 0.5)])
    busy = np.exp(home.busy * mood - home.busy**2 / 2) * np.where(workday, 0.95, 1.12)
    active = _active(home, uniform, normal, workday, empty)
    return Diary(home, uniform, normal, ticks, workday, take, empty, active, busy)


def _active(home: Traits, uniform: Floats, normal: Floats, workday: Mask, empty: Mask) -> Floats:
    """(D, 48): 1 where somebody is at home and awake, less when some are out."""
    late = np.where(workday, 0.0, 1.0)
    wake = home.wake + late * 1.2 + 0.5 * home.shift * normal[:, 0]
    bed = home.bed + late * 0.4 + 0.5 * home.shift * normal[:, 1]
    before = np.concatenate([bed[:1], bed[:-1]])
    hour = _HOURS[None, :]
    awake = ((hour >= wake[:, None]) & (hour < bed[:, None])) | (hour + 24 < before[:, None])
    works = workday & (uniform[:, 2] < home.work)
    leave = np.where(works, home.leave + 0.3 * normal[:, 2], 9.5 + 7.0 * uniform[:, 3])
    back = np.where(
        works, home.back + 0.7 * home.shift * normal[:, 3], leave + 1.0 + 4.0 * uniform[:, 4]
    )
    goes = works | (uniform[:, 5] < 0.5)
    out = goes[:, None] & (hour >= leave[:, None]) & (hour < back[:, None])
    return np.where(awake & ~empty[:, None], np.where(out, home.remain, 1.0), 0.0)


def deposit(size: int, start: Floats, hours: Floats | float, kw: Floats | float) -> Floats:
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


def _cycling(home: Traits, index: pd.DatetimeIndex) -> Floats:
    """(T,) kWh of a compressor that runs ``duty`` of each period: exact over every slot."""
    hours = index[0].timestamp() / 3600 + np.arange(len(index) + 1) / 2
    cycle = hours / home.fridge_hours + home.phase
    whole = np.floor(cycle)
    on = whole * home.fridge_duty + np.minimum(cycle - whole, home.fridge_duty)
    return np.asarray(np.diff(on) * home.fridge_hours * home.fridge_kw)


def mean_cold(site: Site) -> float:
    """Mean over the year of how far the temperature lies below 15.5 degC."""
    season = np.cos(2 * np.pi * (np.arange(365) - 200) / 365)
    below = 15.5 - site.mean_temperature - site.season_amplitude * season
    # Days differ by the anomaly: the mean of the positive part of a normal variable.
    spread = site.anomaly
    z = below / spread
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    share = 0.5 * (1 + np.tanh(0.7978845608 * (z + 0.044715 * z**3)))
    return float((below * share + spread * density).mean())


def use(day: Diary, sky: Weather, site: Site, *, ev: bool, ac: bool) -> dict[str, Floats]:
    """Return the nine appliances, each (T,) kWh per interval."""
    home, u, z, take = day.traits, day.uniform, day.normal, day.take
    days = len(u)
    size = days * DAY
    midnight = np.arange(0.0, size, DAY)
    present = ~day.empty
    shift = home.shift

    def events(column: int, per_day: Floats | float, hour: Floats, hours: Floats | float,
               kw: Floats | float) -> Floats:  # fmt: skip
        """One draw a day decides; a rate above 1 makes the use longer."""
        rate = np.broadcast_to(per_day, (days,)) * day.busy
        happen = present & (u[:, column] < rate)
        stretch = np.maximum(rate, 1.0)
        start = midnight + np.clip(hour, 0.0, None) * 2
        lasts = (np.broadcast_to(hours, (days,)) * stretch)[happen]
        return deposit(size, start[happen], lasts, np.broadcast_to(kw, (days,))[happen])

    weekend = ~day.workday
    evening: Floats = np.maximum(home.dinner, home.back + 0.5) + 0.6 * shift * z[:, 5]
    dinner = home.cooking * t.DINNER_KWH * (0.6 + 0.8 * u[:, 11]) * day.busy
    stove = events(10, 0.85, evening, np.clip(dinner / home.cook_kw, 0.1, 2.5), home.cook_kw)
    lunch = np.where(weekend | (home.work < 0.5), 0.6, 0.15)
    noon: Floats = 12.7 + 0.5 * shift * z[:, 6]
    stove += events(12, lunch, noon, 0.35 * (0.5 + u[:, 13]), home.cooking * t.LUNCH_KWH / 0.35)
    breakfast: Floats = home.wake + 0.4 + 0.3 * shift * z[:, 7] + weekend
    stove += events(14, 0.6, breakfast, 0.12, home.cooking * t.BREAKFAST_KWH / 0.12)

    heavy = np.where(day.workday, 0.9, 1.25)
    hour: Floats = np.where(u[:, 15] < 0.6, home.wake + 1 + 6 * u[:, 16], 16.5 + 4.5 * u[:, 16])
    washing = events(17, home.washes * heavy, hour, 0.3, 0.7 * t.WASH_KWH / 0.3)
    washing += events(17, home.washes * heavy, hour + 0.3, 1.1, 0.3 * t.WASH_KWH / 1.1)
    washing += events(17, home.dries * heavy, hour + 1.6, 0.75, t.DRYER_KWH / 0.75)
    late: Floats = evening + 1.4 + 0.6 * shift * z[:, 8]
    dishes = events(19, home.dishes, late, 0.35, 0.6 * t.DISH_KWH / 0.35)
    dishes += events(19, home.dishes, late + 0.7, 0.3, 0.4 * t.DISH_KWH / 0.3)

    active = day.active.reshape(-1)
    busy = np.repeat(day.busy, DAY)
    flicker = uniform_filter1d(day.ticks[:, 0].reshape(-1), 4)
    screens = home.screen_kw * active * busy * np.clip(1 + 2.4 * (flicker - 0.5), 0, 2) * 0.5
    # Small things of minutes: kettle, microwave, iron, vacuum cleaner.
    rate = np.minimum(home.small_rate * active * busy, 0.8)
    dice = day.ticks[:, 1].reshape(-1)
    drawn = 2 * np.divide(dice, rate, out=np.zeros(size), where=rate > 0)
    excess = np.maximum(home.small_rate * active * busy / np.maximum(rate, 1e-9), 1.0)
    small = np.where(dice < rate, drawn * excess * t.SMALL_KWH, 0.0)

    morning: Floats = home.wake + 0.2 + 0.3 * shift * z[:, 9] + weekend
    bath: Floats = home.bed - 1.0 + 0.5 * shift * z[:, 10]
    water = events(21, 0.65 * home.showers, morning, t.SHOWER_KWH / 9.5, 9.5)
    water += events(22, 0.35 * home.showers, bath, t.SHOWER_KWH / 9.5, 9.5)
    if home.tank_kwh > 0:
        heat: Floats = home.tank_kwh * np.exp(0.2 * z[:, 11]) * present
        if home.night_timer:
            water += deposit(size, midnight + 1.0 + 2 * home.phase, heat / 2.8, 2.8)
        else:
            water += deposit(size, midnight + 2 * (morning - 0.7), 0.5 * heat / 2.8, 2.8)
            water += deposit(size, midnight + 2 * (evening - 1.0), 0.5 * heat / 2.8, 2.8)

    car = np.zeros(size)
    if ev:
        kw = 7.2 if home.phase > 0.3 else 3.6
        plug = np.full(days, 24.5) if home.night_timer else evening
        need = np.clip(7.5 * np.exp(0.6 * z[:, 12]), 1.0, 40.0)
        sessions = present & (u[:, 20] < np.where(day.workday, 0.5, 0.4))
        car = deposit(size, (midnight + 2 * plug)[sessions], need[sessions] / kw, kw)

    # Heating and light follow the weather of the very half hour, on the frame's own clock.
    at_home = active[take]
    below = np.clip(15.5 - sky.temperature, 0.0, None) / mean_cold(site)
    # Heaters are switched by people: on or off, in stretches of a few hours.
    mean_kw = 2 * home.heater_kwh / DAY * below * (0.1 + 0.9 * at_home) / 0.55
    stretch = np.repeat(2 * day.ticks[:, 2, ::6], 6, axis=1).reshape(-1)[take]
    on = day.ticks[:, 2].reshape(-1)[take] * 0.999 < mean_kw / home.heater_kw * stretch
    heater = np.maximum(home.heater_kw, mean_kw) * 0.5 * on * np.repeat(present, DAY)[take]
    stored = np.zeros(size)
    if home.storage_kwh > 0:
        known = np.maximum(np.bincount(take // DAY, minlength=days), 1)
        cold = np.bincount(take // DAY, below, minlength=days) / known
        charge: Floats = home.storage_kwh * cold * np.exp(0.25 * z[:, 13])
        stored = deposit(size, midnight + 1.0, charge / home.storage_kw, home.storage_kw)
    dark = 1.0 - np.clip(sky.ghi / 100.0, 0.0, 1.0)
    light = home.light_kw * dark * at_home * 0.5
    cooling = np.zeros(len(take))
    if ac:
        demand = np.clip((sky.temperature - home.setpoint) / 8.0, 0.0, 1.0)
        cooling = 1.8 * demand * (0.25 + 0.75 * at_home) * 0.5 * np.repeat(present, DAY)[take]
    fridge = _cycling(home, sky.index) * np.clip(1 + 0.015 * (sky.temperature - 12.0), 0.7, 1.5)
    return {
        "fridge": fridge,
        "washing_machine": washing[take],
        "dishwasher": dishes[take],
        "ev_charging": car[take],
        "ac": cooling,
        "stove": stove[take],
        "water_heater": water[take],
        "computers": screens[take],
        "misc": home.standby_kw * 0.5 + light + heater + stored[take] + small[take],
    }
