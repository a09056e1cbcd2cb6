"""Solar panels for real homes that have none: generated PV on real load."""

from dataclasses import replace

import numpy as np
import pandas as pd

from common.data.frame import Household
from common.data.weather import SITES, weather
from common.errors import InputError
from common.rng import generator

# Share of the energy at standard irradiance that arrives: wires, inverter, dirt, heat.
PERFORMANCE = 0.82


def with_panels(household: Household, number: int, seed: int) -> Household:
    """Give a home 2 to 5 kWp on a flat mount unless it has PV already, or every third none.

    The sky is that of the synthetic weather of the home's time zone, one for all homes; sizes are
    drawn per home. Raises InputError where no synthetic weather knows the time zone.
    """
    if number % 3 == 2 or bool((household.frame["pv"] > 0).any()):
        return household
    site = next((s for s in SITES.values() if s.timezone == household.timezone), None)
    if site is None:
        raise InputError(f"{household.name}: no weather for time zone {household.timezone}")
    index = household.frame.index
    assert isinstance(index, pd.DatetimeIndex)
    sky = weather(site, seed, index[0], len(index))
    size = generator(seed, household.name, 0, "panel size").uniform(2.0, 5.0)
    frame = household.frame.copy()
    frame["pv"] = np.maximum(sky.ghi, 0.0) / 1000.0 * size * PERFORMANCE * 0.5
    return replace(household, frame=frame)
