"""Compensation: nobody ends worse off than alone, as far as those who gained can pay for it.

When a run is over, or a month of one without end, each household may tell what it would have paid
without a market. What the losers lost is taken from the gainers in proportion to their gains, and
no gainer gives more than its gain. Where the losses exceed the gains, all gains go to the losers in
proportion to their losses.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from common.arrays import Floats, Ints
from common.market_rules import MICRO

TOLD: Final = ("shadow_cost", "shadow_end_value", "end_value")
"""What a household must tell [currency]: its bill alone, and what its store is worth at the end
of the run against the start, alone and with the market."""


def compensate(gains: Ints) -> Ints:
    """Transfers (H,) [micro], positive where received; they sum to exactly 0.

    ``gains`` (H,) [micro]: negative for who lost; 0 takes no part. After it nobody is below the
    smaller of 0 and its own gain. Micros that do not divide go by largest remainder, ties in
    order of the households.
    """
    won, lost = np.maximum(gains, 0), np.maximum(-gains, 0)
    moved = min(sum(won.tolist()), sum(lost.tolist()))
    return _share(moved, lost) - _share(moved, won)


def _share(amount: int, weights: Ints) -> Ints:
    """``amount`` in proportion to ``weights`` (H,), at most their sum; none gets more than its
    weight. In whole numbers of any size: products pass 64 bits."""
    whole = sum(weights.tolist())
    if not amount:
        return np.zeros_like(weights)
    parts = [divmod(amount * weight, whole) for weight in weights.tolist()]
    shares = np.array([part for part, _ in parts], np.int64)
    order = sorted(range(len(parts)), key=lambda h: (-parts[h][1], h))
    shares[order[: amount - int(shares.sum())]] += 1
    return shares


def told_gains(
    reports: Sequence[Mapping[str, float]],
    owed: Ints,
    limit: float,
    names: Sequence[str] = TOLD,
) -> Ints:
    """What each household has gained by the market (H,) [micro], by its own account.

    ``reports``: what the households told, by ``names`` in the order of TOLD. ``owed`` (H,) [micro]:
    what the ledger says they pay, surcharges included. 0 for who told nothing, or a figure that is
    not finite or beyond
    ``limit`` [currency], the most that a connection can carry in the run.
    """
    gains = np.zeros_like(owed)
    for h, report in enumerate(reports):
        told = [report.get(name, np.nan) for name in names]
        if all(abs(figure) <= limit for figure in told):
            alone, alone_left, left = (round(figure * MICRO) for figure in told)
            gains[h] = (alone - alone_left) - (int(owed[h]) - left)
    return gains


def most_carried(
    retail: Floats, feed_in: float | Floats, import_kwh: float, export_kwh: float
) -> float:
    """The largest bill or revenue [currency] of a connection over the run.

    ``retail``, ``feed_in``: (T,), or (G, T) of several tariffs.
    """
    dearest = np.maximum(np.abs(retail), np.abs(feed_in))
    if dearest.ndim > 1:
        dearest = np.nanmax(dearest, axis=0)
    return float(np.nansum(dearest)) * max(import_kwh, export_kwh)
