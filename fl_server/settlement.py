"""Settlement: what the meter saw beyond the trades flows from or to the grid.

The meter reports a household's physical flows at its connection, trades included. Fills are firm.
What a seller did not send is its *shortfall*: it buys that at the dearest price of any member, or
at what it was paid, if that is more. What a buyer did not use is *unused*: it sells that at the
cheapest price of any member, or at what it paid, if that is less. So a fill without delivery never
earns anything, whatever the members' tariffs are.

Where the community has passed its cap, who drew more than its allowance pays the scarcity price for
its part of what lies above the cap. What that comes to above retail is nobody's energy: it goes
back to all households in equal parts.
"""

from dataclasses import dataclass

import numpy as np

from common.arrays import Ints
from common.market_rules import MILLI_WH_PER_KWH, PPM
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

    ``grid_import`` and ``grid_export`` contain ``shortfall`` and ``unused``. ``cost`` is paid for
    the first and ``revenue`` received for the second, both of either sign. ``surcharge`` is None
    without a cap.
    """

    grid_import: Ints
    grid_export: Ints
    cost: Ints
    revenue: Ints
    shortfall: Ints
    unused: Ints
    surcharge: Surcharge | None = None


def undelivered_prices(imported: Ints, exported: Ints, keep_ppm: int) -> tuple[int, int]:
    """What a shortfall costs and what unused energy earns, at least [micro per kWh].

    ``imported``, ``exported``: all members' prices of the interval. A kWh that was sold saves its
    buyer up to the dearest of them for each of the ``1 - loss`` kWh that arrive; so at a negative
    price the loss counts in the seller's favour, and is taken out. For what is unused alike.
    """
    highest = int(max(imported.max(), exported.max()))
    lowest = int(min(imported.min(), exported.min()))
    return max(highest, -(-highest * keep_ppm // PPM)), min(lowest, lowest * PPM // keep_ppm)


def settle(
    meter_import: Ints,
    meter_export: Ints,
    fills: Fills,
    imported: Ints | int,
    exported: Ints | int,
    keep_ppm: int = PPM,
) -> Settlement:
    """Settle one interval's meter readings (H,) [mWh] against its fills.

    ``imported``, ``exported``: prices [micro per kWh] of either sign for what is drawn from and fed
    to the grid, one for all or (H,). ``keep_ppm``: delivered per sent energy. Where a household's
    export price exceeds its import price its net is settled, so that it cannot earn by turning
    energy in a circle. Money is rounded to the nearest micro, halves up; amounts of one price are
    rounded once.
    """
    count = len(meter_import)
    imported = np.broadcast_to(np.asarray(imported, np.int64), count)
    exported = np.broadcast_to(np.asarray(exported, np.int64), count)
    net = meter_import - meter_export
    netted = exported > imported
    meter_import = np.where(netted, np.maximum(net, 0), meter_import)
    meter_export = np.where(netted, np.maximum(-net, 0), meter_export)
    taken = np.maximum(meter_import - fills.bought, 0)
    given = np.maximum(meter_export - fills.sold, 0)
    shortfall = np.maximum(fills.sold - meter_export, 0)
    unused = np.maximum(fills.bought - meter_import, 0)
    dearest, cheapest = undelivered_prices(imported, exported, keep_ppm)
    cost = _money(taken, imported, shortfall, dearest)
    revenue = _money(given, exported, unused, cheapest)
    for h in np.flatnonzero(shortfall).tolist():
        got, sold = int(fills.received[h]), int(fills.sold[h])
        # By more than the micro that rounding may have given.
        if (got - 1) * MILLI_WH_PER_KWH > dearest * sold:
            paid_back = -(-got * int(shortfall[h]) // sold)
            cost[h] = _rounded(taken[h] * imported[h]) + paid_back
    for h in np.flatnonzero(unused).tolist():
        paid, bought = int(fills.paid[h]), int(fills.bought[h])
        if (paid + 1) * MILLI_WH_PER_KWH < cheapest * bought:
            returned = paid * int(unused[h]) // bought
            revenue[h] = _rounded(given[h] * exported[h]) + returned
    return Settlement(taken + shortfall, given + unused, cost, revenue, shortfall, unused)


def _money(energy: Ints, price: Ints, rest: Ints, rest_price: int) -> Ints:
    """Micro for ``energy`` at each household's ``price`` and ``rest`` at ``rest_price``."""
    one = price == rest_price
    together = _rounded((energy + rest) * price)
    apart = _rounded(energy * price) + _rounded(rest * rest_price)
    return np.where(one, together, apart)


def _rounded(amount: Ints) -> Ints:
    """1e-12 currency to the nearest micro."""
    return (amount + MILLI_WH_PER_KWH // 2) // MILLI_WH_PER_KWH


def surcharge(
    grid_import: Ints, allowance: Ints, above: int, retail: Ints | int, scarcity: int
) -> Surcharge:
    """Charge ``above`` mWh, drawn above the cap, to those beyond their ``allowance`` (H,) [mWh].

    In proportion to how far they are beyond it, and never for more than that: where others leave
    their allowances unused, nobody pays. Prices micro per kWh; ``retail`` one for all or (H,).
    """
    excess = np.maximum(grid_import - allowance, 0)
    total = int(excess.sum())
    above = min(above, total)
    energy = np.array([x * above // max(total, 1) for x in excess.tolist()], np.int64)
    charged = (
        energy * np.maximum(scarcity - retail, 0) + MILLI_WH_PER_KWH // 2
    ) // MILLI_WH_PER_KWH
    share = int(charged.sum()) // len(charged)
    return Surcharge(excess, charged, np.full_like(charged, share))
