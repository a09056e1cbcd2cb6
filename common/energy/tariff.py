"""Tariff conventions: what the grid charges, and what stored energy is worth at the end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.arrays import Floats, Ints, Mask
from common.energy.battery import BatterySpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EndValue:
    """Value of the energy left in the battery at the end, against the start.

    ``reference_kwh`` is the energy stored at the start. A missing stored kWh costs
    ``shortfall_price``, an additional one earns ``surplus_price``. All scalars or (H,). Every case
    that is compared uses the same value, optima included.
    """

    reference_kwh: float | Floats
    shortfall_price: float | Floats
    surplus_price: float | Floats

    def value(self, stored_kwh: Floats) -> Floats:
        """Worth [currency] of ``stored_kwh`` at the end; 0 at the reference, negative below."""
        left = np.asarray(stored_kwh) - self.reference_kwh
        return np.where(left < 0, left * self.shortfall_price, left * self.surplus_price)

    def among(self, which: Ints | Mask | slice) -> "EndValue":
        """The same for some of the households."""
        parts = (self.reference_kwh, self.shortfall_price, self.surplus_price)
        return EndValue(*(p if np.ndim(p) == 0 else np.asarray(p)[which] for p in parts))


def end_value(
    spec: BatterySpec, retail: Floats, feed_in: float | Floats, days: Ints | None = None
) -> EndValue:
    """End value of a run with prices of either sign.

    ``retail``: import prices of the whole run, (T,) for all or (H, T); ``feed_in``: export prices,
    one for all, (T,) or (H, T). ``days``: (T,) or (H, T), numbers that tell the local days apart;
    None: all one day. Prices that are not known (nan) are left out. The prices of the result are
    (H,) as soon as one of the three is by household.

    Shortfall: the mean over the days of the day's lowest import price, over eta, per stored kWh
    (what buying it back costs at best). Surplus: the mean of the lowest export prices times eta
    (what exporting it earns), and never more than a shortfall costs. Neither is below zero. They
    reveal nothing that is measured.
    """
    retail, paid = np.asarray(retail, np.float64), np.asarray(feed_in, np.float64)
    # One import price for homes with days, or export prices, of their own is each one's.
    shape = np.broadcast_shapes(retail.shape, paid.shape, () if days is None else days.shape)
    retail, paid = np.broadcast_to(retail, shape), np.broadcast_to(paid, shape)
    eta = spec.eta
    shortfall = np.maximum(_mean_lowest(retail, days), 0.0) / eta
    surplus = np.minimum(np.maximum(_mean_lowest(paid, days), 0.0) * eta, shortfall)
    reference = np.asarray(spec.soc_initial, dtype=np.float64) * spec.capacity_kwh
    if np.ndim(shortfall) == 0:
        return EndValue(reference, float(shortfall), float(surplus))
    return EndValue(reference, shortfall, surplus)


def local_days(start: "pd.Timestamp", intervals: int, timezone: str, minutes: int = 30) -> Ints:
    """(T,) numbers that tell apart the local days of ``intervals`` from ``start`` (UTC) on."""
    # A household's small processes come here for the rest, and are to stay small.
    import pandas as pd

    times = pd.date_range(start, periods=intervals, freq=pd.Timedelta(minutes=minutes))
    local = times.tz_convert(timezone).tz_localize(None)
    return np.asarray(local.normalize().asi8, dtype=np.int64)


def _mean_lowest(prices: Floats, days: Ints | None) -> Floats:
    """Mean over days of each day's lowest price: () for (T,), (H,) for (H, T)."""
    if prices.ndim > 1:
        apart = days is not None and days.ndim > 1
        if not apart and (prices == prices[0]).all():
            return np.full(len(prices), _mean_lowest(prices[0], days))
        each = list(days) if days is not None and apart else [days] * len(prices)
        return np.array([_mean_lowest(row, day) for row, day in zip(prices, each, strict=True)])
    known = np.isfinite(prices)
    if not known.any():
        return np.zeros(())
    if days is None:
        return np.asarray(prices[known].min())
    _, day_of = np.unique(days[known], return_inverse=True)
    lowest = np.full(day_of.max() + 1, np.inf)
    np.minimum.at(lowest, day_of, prices[known])
    # Days of one price give just that price, to the last bit.
    return np.asarray(lowest.min() + np.mean(lowest - lowest.min()))


def grid_cost(
    grid_import: Floats,
    grid_export: Floats,
    retail: float | Floats,
    feed_in: float | Floats,
) -> Floats:
    """Bill [currency] of energy drawn from and fed to the grid; arrays broadcast."""
    return grid_import * retail - grid_export * feed_in
