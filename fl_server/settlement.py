"""Settlement: what the meter saw beyond the trades flows from or to the grid.

The meter reports a household's physical net flow at its connection, trades included. Fills are
firm: who sold more than it delivered has bought the shortfall at retail.
"""

from dataclasses import dataclass

import numpy as np

from common.market_rules import MWH, Ints
from fl_server.market.book import Fills


@dataclass(frozen=True)
class Settlement:
    """Energy [mWh] and money [micro] between H households and the grid, arrays (H,).

    ``cost`` is paid for ``grid_import`` and ``revenue`` received for ``grid_export``.
    """

    grid_import: Ints
    grid_export: Ints
    cost: Ints
    revenue: Ints


def settle(
    meter_import: Ints, meter_export: Ints, fills: Fills, retail: int, feed_in: int
) -> Settlement:
    """Settle one interval's meter readings (H,) [mWh] against its fills; prices micro per kWh.

    ``import - export - (bought - sold)`` is what the grid supplied (positive) or took (negative).
    Money is rounded to the nearest micro, halves up.
    """
    residual = (meter_import - meter_export) - (fills.bought - fills.sold)
    taken, given = np.maximum(residual, 0), np.maximum(-residual, 0)
    return Settlement(
        grid_import=taken,
        grid_export=given,
        cost=(taken * retail + MWH // 2) // MWH,
        revenue=(given * feed_in + MWH // 2) // MWH,
    )
