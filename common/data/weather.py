"""Synthetic weather of a site: a seasonal and a daily cycle, slow anomalies, and clouds.

Clear-sky irradiance and the sun's position come from pvlib; clouds scale the clear sky. Every day
draws from its own generator and slow processes are finite moving sums of daily draws, so two
windows that overlap agree where they do.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import pvlib
from scipy.ndimage import uniform_filter1d
from scipy.special import ndtr

from common.arrays import Floats
from common.data.frame import DAY, INTERVAL
from common.rng import generator

# A moving sum of this many days carries an anomaly of correlation MEMORY from day to day.
WARM_UP_DAYS = 16
MEMORY = 0.7


@dataclass(frozen=True)
class Site:
    """A place and its climate; temperatures in degC, monthly normals reduced to one harmonic."""

    name: str
    latitude: float
    longitude: float
    timezone: str
    mean_temperature: float
    season_amplitude: float
    day_amplitude: float
    anomaly: float
    cloudiness: float  # mean of the latent cloud state; 0 leaves half the days clear


# Normals 1991-2020: Met Office (Heathrow), AEMET (Sevilla), rounded.
LONDON = Site("london", 51.5, -0.12, "Europe/London", 11.8, 6.6, 3.8, 2.8, 0.25)
SEVILLE = Site("seville", 37.4, -5.98, "Europe/Madrid", 19.4, 8.6, 6.5, 2.2, 1.5)
SITES = {site.name: site for site in (LONDON, SEVILLE)}


@dataclass(frozen=True)
class Weather:
    """Half-hourly weather, arrays (T,): degC, W/m2, degrees; the sun stands at mid-interval."""

    index: pd.DatetimeIndex
    temperature: Floats
    ghi: Floats
    dni: Floats
    dhi: Floats
    zenith: Floats
    azimuth: Floats
    clear_ghi: Floats


def moving_sum(daily: Floats, memory: float = MEMORY) -> Floats:
    """Return (D - WARM_UP_DAYS,) unit-variance values from (D,) independent normal draws.

    An autoregression of order one, cut off after WARM_UP_DAYS days.
    """
    weights = memory ** np.arange(WARM_UP_DAYS + 1)
    weights /= np.sqrt((weights**2).sum())
    return np.convolve(daily, weights, mode="valid")


@lru_cache(maxsize=4)
def weather(site: Site, seed: int, first: pd.Timestamp, intervals: int) -> Weather:
    """Return the weather of ``intervals`` half hours from ``first`` (UTC): a pure function."""
    index = pd.date_range(first, periods=intervals, freq=INTERVAL, unit="us")
    day_of = index.normalize()
    start = day_of[0].toordinal()
    days = day_of[-1].toordinal() - start + 1
    # One more day on either side: anomalies are interpolated between noons.
    span = np.arange(start - 1 - WARM_UP_DAYS, start + days + 1)
    draws = np.stack(
        [generator(seed, "", int(d), "weather").standard_normal(2 + DAY) for d in span]
    )
    warmth = moving_sum(draws[:, 0])
    cloud = site.cloudiness + moving_sum(draws[:, 1], 0.45)
    flicker = uniform_filter1d(draws[WARM_UP_DAYS:, 2:].reshape(-1), 3) * np.sqrt(3)

    tick = np.asarray((index - day_of) // INTERVAL, dtype=np.int64)
    day = np.asarray([d.toordinal() for d in day_of.unique()])[pd.factorize(day_of)[0]] - start
    noon = np.arange(-1, days + 1) + 0.5
    when = day + (tick + 0.5) / DAY
    middle = index + INTERVAL / 2
    sun = pvlib.solarposition.get_solarposition(middle, site.latitude, site.longitude)
    clear = pvlib.clearsky.ineichen(
        sun["apparent_zenith"],
        pvlib.atmosphere.get_absolute_airmass(
            pvlib.atmosphere.get_relative_airmass(sun["apparent_zenith"])
        ),
        linke_turbidity=3.0,
    )["ghi"].to_numpy(np.float64)
    clear = np.nan_to_num(clear)

    # Share of the clear sky that reaches the ground: 0.15 overcast to 1 clear.
    state = np.interp(when, noon, cloud)
    share = 0.15 + 0.85 * ndtr(state + 0.5 * flicker[(day + 1) * DAY + tick])
    ghi = clear * share
    split = pvlib.irradiance.erbs(ghi, sun["zenith"].to_numpy(np.float64), index.day_of_year)
    year = 2 * np.pi * (index.day_of_year.to_numpy() - 201) / 365.25
    # Solar time: the daily wave peaks about three hours after the sun does.
    hour = (tick + 0.5) / 2 + site.longitude / 15
    swing = site.day_amplitude * (0.4 + 0.8 * np.interp(when, noon, ndtr(cloud)))
    temperature = (
        site.mean_temperature
        + site.season_amplitude * np.cos(year)
        + swing * np.cos(2 * np.pi * (hour - 15) / 24)
        + site.anomaly * np.interp(when, noon, warmth)
    )
    return Weather(
        index=index,
        temperature=np.round(temperature, 2),
        ghi=np.round(ghi, 1),
        dni=np.nan_to_num(np.asarray(split["dni"], dtype=np.float64)),
        dhi=np.nan_to_num(np.asarray(split["dhi"], dtype=np.float64)),
        zenith=sun["apparent_zenith"].to_numpy(np.float64),
        azimuth=sun["azimuth"].to_numpy(np.float64),
        clear_ghi=clear,
    )


@lru_cache(maxsize=4)
def prices(site: Site, seed: int, first: pd.Timestamp, intervals: int) -> Floats:
    """Return the community's retail price (T,) per kWh: three bands, seasons, daily level.

    Bands follow the local clock: night 00-07, peak 16-20 on weekdays, day otherwise. The level
    changes by local month and, a little, from day to day, as day-ahead tariffs do.
    """
    index = pd.date_range(first, periods=intervals, freq=INTERVAL, unit="us")
    local = index.tz_convert(site.timezone)
    hour = local.hour.to_numpy()
    workday = local.day_of_week.to_numpy() < 5
    band = np.where(hour < 7, 0.16, 0.28)
    band = np.where((hour >= 16) & (hour < 20), np.where(workday, 0.42, 0.34), band)
    season = 1 + 0.08 * np.cos(2 * np.pi * (local.month.to_numpy() - 1) / 12)
    code, days = pd.factorize(local.normalize())
    level = np.array([generator(seed, "", d.toordinal(), "price").standard_normal() for d in days])
    return np.asarray(np.round(band * season * (1 + 0.05 * np.clip(level, -2.5, 2.5)[code]), 4))
