"""How a battery ages with use.

Cycle ageing of a graphite/LiFePO4 cell after Wang et al., "Cycle-life model for
graphite-LiFePO4 cells", Journal of Power Sources 196 (2011) 3942-3948: the capacity lost in per
cent is ``B exp(-(31700 - 370.3 C) / (R T)) Ah^0.55`` with B = 31630 at low rates (C/2), the
charge throughput Ah of a 2.2 Ah cell and the temperature T. Calendar ageing is not in it.
"""

import math

import numpy as np

from common.arrays import Floats
from common.energy.battery import BatterySpec, BatteryStep

CELL_AH = 2.2
_RATE = 0.5
_GAS_CONSTANT = 8.314


def health(cycles: Floats, temperature_c: float = 25.0) -> Floats:
    """State of health (share of nominal capacity left) after ``cycles`` equivalent full cycles."""
    kelvin = temperature_c + 273.15
    factor = 31630.0 * math.exp(-(31700.0 - 370.3 * _RATE) / (_GAS_CONSTANT * kelvin))
    lost = factor / 100.0 * (np.asarray(cycles, dtype=np.float64) * CELL_AH) ** 0.55
    return np.maximum(1.0 - lost, 0.0)


def age(
    spec: BatterySpec, soh: Floats, cycles: Floats, soc: Floats, moved: BatteryStep
) -> tuple[Floats, Floats]:
    """State of health and equivalent full cycles (H,) after one step that began at ``soc``.

    A full cycle moves the nominal capacity through the store twice, once in and once out. Health
    never rises: a battery that joins with less than its cycles explain keeps the lower value.
    """
    capacity = np.asarray(spec.capacity_kwh, dtype=np.float64)
    through = np.abs(moved.soc - soc) * capacity
    after = cycles + np.divide(
        through, 2.0 * capacity, out=np.zeros(np.shape(through)), where=capacity > 0
    )
    return np.minimum(soh, health(after)), after
