"""The lines of a bill: what of a posting is energy, markup, network fee, levies, VAT, and so on.

In whole micro (1e-6 currency) and mWh (1e-6 kWh), each line of each interval rounded to the nearest
micro, halves up; what a posting came to less its other lines is the energy's. So the lines of a
posting sum to it exactly.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.arrays import Ints, Mask
from common.energy.charges import LocalFee
from common.market_rules import MILLI_WH_PER_KWH
from fl_server.audit import Kind
from fl_server.price_lists import PriceList

LOCAL_LINES: Final = ("local_energy", "local_network_fee", "local_levies", "local_vat")
LINES: Final = (
    "energy",
    "markup",
    "network_fee",
    "levies",
    "standing_charge",
    "vat",
    *LOCAL_LINES,
    "local_sales",
    "feed_in",
    "undelivered",
    "surcharge",
    "compensation",
    "corrections",
)
"""Every line a bill may have, in its order. Sales and feed-in are below zero at positive prices.

``vat`` is that on energy, markup, network fee, levies and standing charge. ``undelivered``: what
energy sold and not sent, or bought and not used, cost beyond the household's own prices.
"""
_COLUMN: Final = {name: number for number, name in enumerate(PriceList._fields)}
_METER: Final = (Kind.SETTLEMENT, Kind.ESTIMATE)


def worth(energy: Ints, price: Ints | int) -> Ints:
    """Micro for ``energy`` mWh at ``price`` micro per kWh."""
    amount: Ints = (energy * price + MILLI_WH_PER_KWH // 2) // MILLI_WH_PER_KWH
    return amount


def local_lines(bought: Ints, fee: LocalFee) -> tuple[Ints, Ints, Ints]:
    """Network fee, levies and VAT on ``bought`` mWh of local energy [micro], household by
    household."""
    return worth(bought, fee.network), worth(bought, fee.levies), worth(bought, fee.vat)


def grid_lines(drawn: Ints, fed: Ints, prices: Ints) -> dict[str, Ints]:
    """Lines of energy drawn from and fed to the grid [mWh] (n,) at price lists (n, 11)."""
    energy, markup, network, levies, vat, export = prices.T[:6]
    lines = {
        "markup": worth(drawn, markup),
        "network_fee": worth(drawn, network),
        "levies": worth(drawn, levies),
        "vat": worth(drawn, vat),
    }
    whole = worth(drawn, energy + markup + network + levies + vat)
    lines["energy"] = whole - sum(lines.values())
    return lines | {"feed_in": -worth(fed, export)}


def posted_lines(rows: Ints, prices: Ints, known: Mask) -> Mapping[str, Ints]:
    """Amounts (n,) of every line of a household's postings.

    ``rows`` (n, 7): as ``Ledger.postings_of``. ``prices`` (n, 11): the price list of each, where it
    is ``known`` (n,). Where it is not, all is energy.
    """
    kind = rows[:, 1]
    energy_in, energy_out, money_in, money_out = rows[:, 3:].T
    net = money_out - money_in
    lines = {name: np.zeros(len(rows), np.int64) for name in LINES}

    at = np.flatnonzero(np.isin(kind, _METER) & ~known)
    lines["energy"][at], lines["feed_in"][at] = money_out[at], -money_in[at]
    at = np.flatnonzero(np.isin(kind, _METER) & known)
    drawn = grid_lines(energy_in[at], energy_out[at], prices[at])
    for name, amount in drawn.items():
        lines[name][at] = amount
    lines["undelivered"][at] = net[at] - sum(drawn.values())

    at = np.flatnonzero(kind == Kind.FILLS)
    bought, sold = energy_in[at], energy_out[at]
    # At negative prices the buyer's payment is booked as received; who did both paid and received.
    paid = np.where(sold == 0, net[at], np.where(bought == 0, 0, money_out[at]))
    columns = (_COLUMN["local_network"], _COLUMN["local_levies"], _COLUMN["local_vat"])
    fees = [worth(bought, prices[at, column]) for column in columns]
    for name, fee in zip(LOCAL_LINES[1:], fees, strict=True):
        lines[name][at] = fee
    lines["local_energy"][at] = paid - sum(fees)
    lines["local_sales"][at] = net[at] - paid

    at = np.flatnonzero(kind == Kind.STANDING)
    lines["vat"][at] = prices[at, _COLUMN["standing_vat"]]
    lines["standing_charge"][at] = net[at] - lines["vat"][at]

    for name, one in (
        ("surcharge", Kind.SURCHARGE),
        ("compensation", Kind.COMPENSATION),
        ("corrections", Kind.REVISION),
    ):
        lines[name][kind == one] = net[kind == one]
    return lines
