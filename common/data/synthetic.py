"""Synthetic households: nine appliances that follow people, seasons and weather.

``generate`` is a pure function of (name, seed, first, intervals, community). Traits of a home are
drawn once; every local day draws from its own generator, so windows that overlap agree.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pvlib

from common.arrays import Floats
from common.data.appliances import diary, use
from common.data.frame import COLUMNS, IDLE_BATTERY, INTERVAL_MINUTES, Household
from common.data.traits import LONDONERS, Population, draw
from common.data.weather import LONDON, Site, Weather, prices, weather
from common.rng import generator

DEFAULT_DAY = "2024-05-06"


@dataclass(frozen=True)
class Community:
    """Who lives there: shares of homes that own a thing, in [0, 1]; mean peak power of panels [kW].

    ``pv_kw`` is what a typical home of Britain has, 3 to 4 kW (MCS, May 2024), and a little more:
    newer ones are larger. Roofs spread evenly from 0.6 to 1.4 times it (assumed).
    """

    site: Site = LONDON
    pv: float = 0.5
    ev: float = 0.25
    ac: float = 0.3
    people: Population = LONDONERS
    pv_kw: float = 4.25


DEFAULT = Community()


def names(households: int) -> list[str]:
    """Return "H0001", "H0002", ...: as many names as households, already sorted."""
    width = max(4, len(str(households)))
    return [f"H{number:0{width}d}" for number in range(1, households + 1)]


def _pv(rng: np.random.Generator, sky: Weather, mean_kw: float) -> Floats:
    """(T,) kWh of one roof: PVWatts (Dobos 2014), Faiman cell temperature, isotropic sky."""
    kw_peak = rng.uniform(2.5, 6.0) * (mean_kw / DEFAULT.pv_kw)
    plane = pvlib.irradiance.get_total_irradiance(
        rng.uniform(20.0, 45.0),
        180.0 + 35.0 * rng.standard_normal(),
        sky.zenith,
        sky.azimuth,
        sky.dni,
        sky.ghi,
        sky.dhi,
    )
    light = np.nan_to_num(np.asarray(plane["poa_global"], dtype=np.float64))
    cell = pvlib.temperature.faiman(light, sky.temperature, wind_speed=2.0)
    dc = pvlib.pvsystem.pvwatts_dc(light, cell, kw_peak, -0.004) * rng.uniform(0.8, 0.92)
    ac = pvlib.inverter.pvwatts(dc, kw_peak / 1.15 / 0.96)
    return np.asarray(np.clip(ac, 0.0, None) * (INTERVAL_MINUTES / 60), dtype=np.float64)


def generate(
    name: str,
    *,
    seed: int,
    first: pd.Timestamp,
    intervals: int,
    community: Community = DEFAULT,
) -> Household:
    """Return ``intervals`` half hours of household ``name`` from ``first`` (UTC, on the grid)."""
    site = community.site
    sky = weather(site, seed, first, intervals)
    rng = generator(seed, name, 0, "owns")
    owns = {thing: bool(rng.random() < getattr(community, thing)) for thing in ("pv", "ev", "ac")}
    home = draw(seed, name, community.people)
    day = diary(seed, name, home, sky.index.tz_convert(site.timezone))
    values = dict.fromkeys(COLUMNS, np.zeros(intervals))
    values |= use(day, sky, site, ev=owns["ev"], ac=owns["ac"])
    if owns["pv"]:
        values["pv"] = _pv(generator(seed, name, 0, "roof"), sky, community.pv_kw)
    # A meter counts whole mWh.
    values = {key: np.round(column, 6) for key, column in values.items()}
    values |= {key: np.full(intervals, idle) for key, idle in IDLE_BATTERY.items()}
    values |= {"temperature": sky.temperature, "solar_irradiance": sky.ghi}
    values |= {"price": prices(site, seed, first, intervals)}
    frame = pd.DataFrame(values, index=sky.index.rename("timestamp"), columns=list(COLUMNS))
    return Household(
        name=name,
        frame=frame,
        timezone=site.timezone,
        source=f"synthetic, seed {seed}, {site.name}",
        real=False,
    )
