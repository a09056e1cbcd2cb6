"""What the sun can give: clear-sky irradiance, the measure of a home's own clearness."""

import numpy as np
import pandas as pd

from common.arrays import Floats
from common.forecast.daylight import places


def clear_sky(times: pd.DatetimeIndex, timezone: str, minutes: int = 30) -> Floats:
    """Clear-sky global horizontal irradiance (T,) [W/m2] at the middle of each interval.

    ``times`` are starts in UTC of intervals of ``minutes``. The place is the principal place of the
    time zone: near enough, for a home's own readings set the scale. Model of Haurwitz (1945) as in
    pvlib, on the apparent zenith. A time zone without a place (such as UTC) gives nan.
    """
    if timezone not in places():
        return np.full(len(times), np.nan)
    import pvlib  # here: it takes long to import, and who only trades does not need it

    latitude, longitude = places()[timezone]
    middle = times + pd.Timedelta(minutes=minutes / 2)
    sun = pvlib.solarposition.get_solarposition(middle, latitude, longitude)
    clear = pvlib.clearsky.haurwitz(sun["apparent_zenith"])["ghi"]
    return np.ascontiguousarray(clear.to_numpy(np.float64))
