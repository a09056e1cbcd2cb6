"""Tariff conventions: what the grid charges, and what stored energy is worth at the end."""

from dataclasses import dataclass

import numpy as np

from common.arrays import Floats
from common.energy.battery import BatterySpec


@dataclass(frozen=True)
class EndValue:
    """Value of the energy left in the battery at the end, against the start.

    ``reference_kwh`` is the energy stored at the start, a scalar or (H,). A missing stored kWh
    costs ``shortfall_price``, an additional one earns ``surplus_price``. Every case that is
    compared uses the same value, optima included.
    """

    reference_kwh: float | Floats
    shortfall_price: float
    surplus_price: float

    def value(self, stored_kwh: Floats) -> Floats:
        """Worth [currency] of ``stored_kwh`` at the end; 0 at the reference, negative below."""
        left = np.asarray(stored_kwh) - self.reference_kwh
        return np.where(left < 0, left * self.shortfall_price, left * self.surplus_price)


def end_value(spec: BatterySpec, retail: Floats, feed_in: float) -> EndValue:
    """End value of a run: ``retail`` (T,) is the tariff of the whole run.

    Shortfall: lowest retail / eta per stored kWh (what buying it back costs at best). Surplus:
    feed-in * eta (what exporting it earns). The tariff is published, so using its minimum over
    the run reveals nothing that is measured.
    """
    eta = float(np.min(spec.eta))
    reference = np.asarray(spec.soc_initial, dtype=np.float64) * spec.capacity_kwh
    return EndValue(reference, float(np.min(retail)) / eta, feed_in * eta)


def grid_cost(
    grid_import: Floats, grid_export: Floats, retail: float | Floats, feed_in: float
) -> Floats:
    """Bill [currency] of energy drawn from and fed to the grid; arrays broadcast."""
    return grid_import * retail - grid_export * feed_in
