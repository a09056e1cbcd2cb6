"""What the sun can give: clear-sky irradiance, the measure of a home's own clearness."""

import io
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.config import cache_root
from common.files import write_whole
from common.forecast.daylight import places

_MONTHS = 64


def clear_sky(times: pd.DatetimeIndex, timezone: str, minutes: int = 30) -> Floats:
    """Clear-sky global horizontal irradiance (T,) [W/m2] at the middle of each interval.

    ``times`` are starts in UTC of intervals of ``minutes``. The place is the principal place of the
    time zone: near enough, for a home's own readings set the scale. Model of Haurwitz (1945) as in
    pvlib, on the apparent zenith. A time zone without a place (such as UTC) gives nan.

    Whole months are kept in fedwatt's cache: pvlib takes longer to import than to compute a year.
    """
    if timezone not in places():
        return np.full(len(times), np.nan)
    at = times.tz_convert(None).to_numpy()
    months = at.astype("datetime64[M]")
    row, beside = np.divmod(at - months.astype(at.dtype), np.timedelta64(minutes, "m"))
    if beside.astype(np.int64).any():
        # Days of a place like Kathmandu do not begin with a half hour of UTC.
        return _computed(times, timezone, minutes)
    sky = np.empty(len(times))
    for month in np.unique(months):
        here = months == month
        sky[here] = _month(str(month), timezone, minutes)[row[here]]
    return sky


@lru_cache(maxsize=_MONTHS)
def _month(month: str, timezone: str, minutes: int) -> Floats:
    """Clear sky of all intervals of a month of UTC, such as 2024-05."""
    name = f"{timezone.replace('/', '-')}-{month}-{minutes}-pvlib-{version('pvlib')}.npy"
    # A home may have no folder for it, or none that can be written: it is only slower.
    with suppress(OSError, RuntimeError, ValueError, EOFError):
        kept: Floats = np.load(cache_root() / "clear-sky" / name)
        return kept
    first = pd.Timestamp(month, tz="UTC")
    times = pd.date_range(
        first, first + pd.DateOffset(months=1), freq=f"{minutes}min", inclusive="left"
    )
    made = _computed(times, timezone, minutes)
    whole = io.BytesIO()
    np.save(whole, made)
    with suppress(OSError, RuntimeError):
        folder = cache_root() / "clear-sky"
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, whole.getvalue())
    return made


def _computed(times: pd.DatetimeIndex, timezone: str, minutes: int) -> Floats:
    import pvlib  # here: it takes long to import

    latitude, longitude = places()[timezone]
    middle = times + pd.Timedelta(minutes=minutes / 2)
    sun = pvlib.solarposition.get_solarposition(middle, latitude, longitude)
    clear = pvlib.clearsky.haurwitz(sun["apparent_zenith"])["ghi"]
    return np.ascontiguousarray(clear.to_numpy(np.float64))
