"""What stays the same in one synthetic home: people, habits, appliances, how much of everything.

A home's size comes first: kWh per day is drawn from the population's distribution, and shares of
it go to base load, heating, hot water and the rest; how often things are used follows from that
and from the energy one use takes. Traits are spread evenly over a community (a generalised golden
ratio sequence, Roberts 2018), so that ten homes already look like the population.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from common.rng import generator


@dataclass(frozen=True)
class Population:
    """How homes differ. The defaults are fitted to 42 London homes of 2013 (docs/data.md)."""

    kwh_per_day: float = 8.9  # median, without car and panels
    kwh_spread: float = 0.63  # standard deviation of its logarithm
    base_share: float = 0.395  # median share of cold appliances and standby
    base_spread: float = 0.5
    at_work: float = 0.5  # share of homes whose people leave on workdays
    remain: float = 0.4  # share of activity that stays when they do
    busy_low: float = 0.05  # how much days differ, from steady homes to erratic ones
    busy_high: float = 0.4
    shift_low: float = 0.6  # hours by which habits move from day to day
    shift_high: float = 2.0
    small_rate: float = 0.12  # kettle, iron, ... per half hour at home and awake
    heating: float = 0.25  # share of homes with electric heaters
    heating_share: float = 0.15  # of their consumption over a year
    storage: float = 0.08  # share of homes that heat by night storage
    storage_share: float = 0.35
    tank: float = 0.12  # share of homes with an immersion heater
    tank_share: float = 0.3
    shower: float = 0.37  # share of homes with an electric shower
    dryer: float = 0.35  # with a tumble dryer
    dishwasher: float = 0.4
    screens: float = 2.0
    journeys: float = 0.014  # begun per day, at most
    evening: float = 18.6  # local hour of dinner


LONDONERS = Population()

# Energy of one use, kWh. Sources: docs/data.md.
WASH_KWH = 0.6
DRYER_KWH = 2.0
DISH_KWH = 1.1
DINNER_KWH = 0.9
LUNCH_KWH = 0.35
BREAKFAST_KWH = 0.15
SHOWER_KWH = 1.0
SMALL_KWH = 0.08


@dataclass(frozen=True)
class Traits:
    """One home. Hours are local, powers in kW, ``*_per_day`` means over a year."""

    kwh_per_day: float
    people: int
    busy: float
    shift: float
    work: float
    remain: float
    wake: float
    leave: float
    back: float
    bed: float
    dinner: float
    journeys: float
    fridge_kw: float
    fridge_hours: float
    fridge_duty: float
    phase: float
    standby_kw: float
    heater_kwh: float  # per day, mean over a year
    heater_kw: float
    storage_kwh: float
    storage_kw: float
    tank_kwh: float
    night_timer: bool
    screen_kw: float
    light_kw: float
    small_rate: float
    washes: float  # per day
    dries: float
    dishes: float
    showers: float
    cooking: float  # times the energy of one meal
    cook_kw: float
    setpoint: float


_TRAITS = 7  # evenly spread: size, base, busy, shift, work, heating, tank


@lru_cache(maxsize=4)
def _offsets(seed: int) -> NDArray[np.float64]:
    return generator(seed, "", 0, "community").random(_TRAITS)


def _spread_evenly(seed: int, name: str) -> NDArray[np.float64]:
    """Return (_TRAITS,) numbers in (0, 1): even over homes whose names count up."""
    digits = len(name) - len(name.rstrip("0123456789"))
    if digits == 0:
        return generator(seed, name, 0, "stratum").random(_TRAITS)
    ratio = 2.0
    for _ in range(30):  # the root of x ** (d + 1) = x + 1, d other traits
        ratio = (1 + ratio) ** (1 / _TRAITS)
    steps = ratio ** -np.arange(0.0, _TRAITS)
    steps[0] = (5**0.5 - 1) / 2  # size alone: the golden ratio itself
    number = int(name[len(name) - digits :][-9:])
    return np.asarray(np.clip((_offsets(seed) + number * steps) % 1.0, 1e-6, 1 - 1e-6))


def draw(seed: int, name: str, people_: Population = LONDONERS) -> Traits:
    """Return the traits of home ``name``: a pure function of the arguments."""
    p = people_
    rng = generator(seed, name, 0, "traits")
    u = _spread_evenly(seed, name)
    size = float(ndtri(u[0]))
    total = p.kwh_per_day * float(np.exp(p.kwh_spread * size))
    base = total * float(np.clip(p.base_share * np.exp(p.base_spread * ndtri(u[1])), 0.05, 0.7))
    # Large consumers are more people, and they heat with electricity more often.
    crowd = 0.6 * size + 0.8 * rng.standard_normal()
    people = 1 + int(np.searchsorted([-0.5, 0.4, 0.95, 1.6], crowd))
    heats, stores = u[5] < p.heating * 2 * ndtr(size), u[5] > 1 - p.storage * (2 if size > 0 else 0)
    heater = total * p.heating_share * rng.uniform(0.4, 1.6) if heats else 0.0
    storage = total * p.storage_share * rng.uniform(0.7, 1.3) if stores else 0.0
    tank = total * p.tank_share * rng.uniform(0.6, 1.4) if u[6] < p.tank else 0.0
    works = u[4] < p.at_work
    wake = 7.5 + 1.1 * rng.standard_normal()
    leave = wake + 1.0 + 0.5 * rng.random()
    back = 17.3 + 1.2 * rng.standard_normal()
    bed = 23.6 + 1.0 * rng.standard_normal()
    work = 0.85 if works else 0.2
    remain = 0.0 if people == 1 else p.remain * rng.uniform(0.5, 1.5)
    out = work * (back - leave) + (1 - work) * 0.5 * 3.0
    awake = max(6.0, (bed - wake) - 5 / 7 * out * (1 - remain))

    fridge = min(float(np.exp(0.35 * rng.standard_normal())) * 0.95, 0.7 * base)
    # What one unit of activity takes per day, by appliance; a home does a multiple of it.
    cooks = rng.choice([0.25, 1.0], p=[0.5, 0.5])
    washes = 5.5 / 7 * (0.4 + 0.3 * people) / 1.0
    rank = float(ndtr(size))  # large consumers own more
    dries = washes * 0.81 * (rng.random() < p.dryer * 2 * rank)
    dishes = (0.25 + 0.12 * people) * (rng.random() < p.dishwasher * 2 * rank)
    showers = 4.4 / 7 * people * (rng.random() < p.shower * 2 * rank)
    screen = p.screens * rng.uniform(0.06, 0.2) * (0.7 + 0.2 * people)
    light = rng.uniform(0.05, 0.2) * (0.7 + 0.2 * people)
    chores = (
        cooks * (0.85 * DINNER_KWH + 0.35 * LUNCH_KWH + 0.6 * BREAKFAST_KWH)
        + washes * WASH_KWH
        + dries * DRYER_KWH
        + dishes * DISH_KWH
        + showers * SHOWER_KWH
    )
    leisure = awake * (screen + 0.45 * light + 2 * p.small_rate * SMALL_KWH)
    rest = max(0.15 * total, total - base - heater - storage - tank)
    often = rest / (chores + leisure)
    if often > 1:  # more of everything means more leisure before more washing
        often, longer = often**0.5, (rest - often**0.5 * chores) / leisure
    else:
        longer = often
    return Traits(
        kwh_per_day=total,
        people=people,
        busy=p.busy_low + (p.busy_high - p.busy_low) * float(u[2]),
        shift=p.shift_low + (p.shift_high - p.shift_low) * float(u[3]),
        work=work,
        remain=remain,
        wake=wake,
        leave=leave,
        back=back,
        bed=bed,
        dinner=p.evening + 0.7 * rng.standard_normal(),
        journeys=p.journeys * rng.random(),
        fridge_kw=fridge / 24 / 0.4,
        fridge_hours=rng.uniform(0.6, 1.2),
        fridge_duty=0.4,
        phase=rng.random(),
        standby_kw=(base - fridge) / 24,
        heater_kwh=heater,
        heater_kw=rng.uniform(0.4, 1.6),
        storage_kwh=storage,
        storage_kw=storage / 2.2 * rng.uniform(0.8, 1.3) + 0.01,
        tank_kwh=tank,
        night_timer=bool(rng.random() < 0.4),
        screen_kw=screen * longer,
        light_kw=light * longer,
        small_rate=p.small_rate * longer,
        washes=washes * often,
        dries=dries * often,
        dishes=dishes * often,
        showers=showers * often,
        cooking=cooks * often,
        cook_kw=rng.uniform(1.4, 2.0 + 2.6 * rank),
        setpoint=24.0 + rng.standard_normal(),
    )
