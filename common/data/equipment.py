"""What synthetic homes have beside their appliances: batteries and connections, drawn home by home.

At the end of 2024 German homes with panels had 1.8 million batteries of 15.4 GWh together, 8.6 kWh
each (BSW-Solar, January 2025, https://ess-news.com/2025/01/31/germanys-battery-storage-fleet-surges-to-19-gwh).
How widely sizes and powers spread around it is assumed here: sizes log-normal, nine tenths of them
between a half and twice the mean; 0.4 to 0.7 kW for each kWh.

A British home's fuse is of 60, 80 or 100 A: the last was usual, 80 A is what is fitted now
(National Grid Electricity Distribution, *Standardisation of fusing to 80A*), 60 A are found in
older houses; how often each is found is assumed. Generation of up to 16 A a phase may be connected
without asking the network first (EREC G98), more needs its consent.
"""

from typing import Any

import numpy as np

from common.rng import generator

MEAN_KWH = 8.6
_SPREAD = 0.4
"""Standard deviation of the logarithm."""
_KW_PER_KWH = (0.4, 0.7)
_FUSES_A = (60.0, 80.0, 100.0)
"""Equally often, for want of a count."""
_G98_A = 16.0
_HALF_HOUR_OF_1_A = 0.230 * 0.5
"""kWh that flow in a half hour at 230 V, one phase."""


def draw_battery(
    name: str, *, seed: int, panels: bool, share: float, pv: float, mean_kwh: float = MEAN_KWH
) -> dict[str, Any]:
    """The settings block of household ``name``: its battery, or one of no capacity.

    ``share`` of all homes have one, those with panels (``pv`` of all) first. A pure function of
    its arguments: a home keeps its battery where there are more homes, or a larger share.
    """
    rng = generator(seed, name, 0, "battery")
    lot, size, power = rng.random(), rng.standard_normal(), rng.uniform(*_KW_PER_KWH)
    with_panels = min(1.0, share / pv) if pv else 0.0
    without = max(0.0, share - pv) / (1.0 - pv) if pv < 1.0 else 0.0
    if lot >= (with_panels if panels else without):
        return {"battery": {"capacity_kwh": 0.0}}
    capacity = round(mean_kwh * float(np.exp(_SPREAD * size - _SPREAD**2 / 2)), 1)
    return {"battery": {"capacity_kwh": capacity, "power_kw": round(capacity * power, 1)}}


def draw_connection(name: str, *, seed: int, limited: float) -> dict[str, Any]:
    """The settings block of household ``name``: its connection [kWh per half hour].

    The fuse limits what is drawn, and what is fed in where that is not limited to 16 A, as it is in
    ``limited`` of all homes. A pure function of its arguments: a home keeps its fuse where there
    are more homes, and its limit where the share is larger.
    """
    rng = generator(seed, name, 0, "connection")
    fuse, lot = _FUSES_A[int(rng.integers(len(_FUSES_A)))], rng.random()
    export = _G98_A if lot < limited else fuse
    amperes = {"import_kwh": fuse, "export_kwh": export}
    return {"connection": {key: round(a * _HALF_HOUR_OF_1_A, 3) for key, a in amperes.items()}}
