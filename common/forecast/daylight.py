"""How bright it is outside, from the calendar alone: what makes homes use more in autumn.

Lags of the last weeks trail a load that rises as days grow short. How much brighter or darker the
coming day is than those weeks is known for ever, and explains much of that drift.
"""

from functools import lru_cache
from importlib.resources import files

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_DARK, _BRIGHT = -0.12, 0.2  # sine of the sun's elevation: end of dusk, full light indoors


@lru_cache(maxsize=1)
def places() -> dict[str, tuple[float, float]]:
    """Latitude and longitude [degrees] of each time zone's principal place.

    From the time zone database: no home has to tell its own place.
    """
    found = {}
    for line in files("tzdata.zoneinfo").joinpath("zone.tab").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            _, place, name = line.split("\t")[:3]
            split = max(place.rfind("+"), place.rfind("-"))
            found[name] = (_degrees(place[:split], 2), _degrees(place[split:], 3))
    return found


def _degrees(text: str, digits: int) -> float:
    """Degrees of ISO 6709 text, +DDMM or +DDMMSS, with ``digits`` digits of degrees."""
    sign, body = (-1.0 if text[0] == "-" else 1.0), text[1:]
    minutes, seconds = body[digits : digits + 2], body[digits + 2 :]
    return sign * (int(body[:digits]) + int(minutes) / 60 + int(seconds or 0) / 3600)


def daylight(times: pd.DatetimeIndex, timezone: str) -> NDArray[np.float32]:
    """Return (T, 2) for UTC interval starts: brightness 0..1 and length of the day in hours.

    Brightness follows the sine of the sun's elevation between the end of dusk and full light.
    Declination by Cooper 1969, hour angle without the equation of time (at most 16 minutes off).
    Zones without a place, such as UTC, give 0.
    """
    light = np.zeros((len(times), 2), np.float32)
    if timezone not in places():
        return light
    latitude, longitude = np.radians(places()[timezone])
    day = times.day_of_year.to_numpy()
    declination = np.radians(23.45) * np.sin(2.0 * np.pi * (284 + day) / 365.0)
    hour = times.hour.to_numpy() + times.minute.to_numpy() / 60.0 + 0.25  # middle of the interval
    angle = np.radians(15.0 * (hour - 12.0)) + longitude
    high = np.sin(latitude) * np.sin(declination)
    wide = np.cos(latitude) * np.cos(declination)
    elevation = high + wide * np.cos(angle)
    light[:, 0] = np.clip((elevation - _DARK) / (_BRIGHT - _DARK), 0.0, 1.0)
    light[:, 1] = np.arccos(np.clip(-high / wide, -1.0, 1.0)) / np.pi * 24.0
    return light
