"""Settlement: what the meter saw beyond the trades flows from or to the grid.

The meter reports a household's physical net flow at its connection, trades included. Fills are
firm: who sold more than it delivered has bought the shortfall at retail.

Where the community has passed its cap, who drew more than its allowance pays the scarcity price for
its part of what lies above the cap. What that comes to above retail is nobody's energy: it goes
back to all households in equal parts.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Ints
from common.market_rules import MILLI_WH_PER_KWH
from fl_server.market.book import Fills


@dataclass(frozen=True)
class Surcharge:
    """``excess`` mWh drawn beyond the allowances, ``charged`` and ``returned`` micro; all (H,).

    Less than one micro per household is not returned and stays with the market.
    """

    excess: Ints
    charged: Ints
    returned: Ints


@dataclass(frozen=True)
class Settlement:
    """Energy [mWh] and money [micro] between H households and the grid, arrays (H,).

    ``cost`` is paid for ``grid_import`` and ``revenue`` received for ``grid_export``, both at
    the tariff; ``surcharge`` is None without a cap.
    """

    grid_import: Ints
    grid_export: Ints
    cost: Ints
    revenue: Ints
    surcharge: Surcharge | None = None


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
        cost=(taken * retail + MILLI_WH_PER_KWH // 2) // MILLI_WH_PER_KWH,
        revenue=(given * feed_in + MILLI_WH_PER_KWH // 2) // MILLI_WH_PER_KWH,
    )


def surcharge(
    grid_import: Ints, allowance: Ints, above: int, retail: int, scarcity: int
) -> Surcharge:
    """Charge ``above`` mWh, drawn above the cap, to those beyond their ``allowance`` (H,) [mWh].

    In proportion to how far they are beyond it, and never for more than that: where others leave
    their allowances unused, nobody pays. Prices micro per kWh.
    """
    excess = np.maximum(grid_import - allowance, 0)
    total = int(excess.sum())
    above = min(above, total)
    energy = np.array([x * above // max(total, 1) for x in excess.tolist()], np.int64)
    charged = (energy * max(scarcity - retail, 0) + MILLI_WH_PER_KWH // 2) // MILLI_WH_PER_KWH
    share = int(charged.sum()) // len(charged)
    return Surcharge(excess, charged, np.full_like(charged, share))
