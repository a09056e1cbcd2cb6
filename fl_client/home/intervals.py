"""Energy of intervals from pieces of time, and how well it is known.

``measured``: the meter spoke on both sides of each boundary within twice its cadence, and not much
less often than once an interval; or its register did not move more than one step in between.
``spread``: known only together with the
neighbours', and divided evenly over time. Nothing is said of an interval that the pieces do not
cover to its end.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_client.home.registers import Pieces

Floats = NDArray[np.float64]

MEASURED, SPREAD, ESTIMATED, CORRECTED = "measured", "spread", "estimated", "corrected"
_HAIR_S = 1e-3  # stamps are written in milliseconds


class Interval(NamedTuple):
    """Energy [kWh] of the interval that begins at ``start`` [s since 1970], and its kind."""

    start: int
    kwh: float
    kind: str


def intervals(meters: Sequence[Pieces], length_s: int, first: int, end: int) -> list[Interval]:
    """Intervals of ``length_s`` between ``first`` and ``end`` [s] that all ``meters`` cover.

    The meters are of one role: their energies add up, and the interval is as sure as the least
    sure of them. ``first`` is a multiple of ``length_s``.
    """
    if not meters or any(len(m.begin) == 0 for m in meters):
        return []
    covered_to = min(end, *(min(m.known_until, float(m.end[-1])) for m in meters))
    begins_at = max(first, *(math.floor(m.begin[0] - _HAIR_S) + 1 for m in meters))
    begins_at = math.ceil(begins_at / length_s) * length_s
    count = math.floor((covered_to + _HAIR_S - begins_at) / length_s)
    if count <= 0:
        return []
    edges = begins_at + length_s * np.arange(count + 1, dtype=np.float64)
    energy, sure, known = np.zeros(count), np.ones(count, np.bool_), np.ones(count, np.bool_)
    for meter in meters:
        kwh, well, covered = _of(meter, edges)
        energy += kwh
        sure &= well
        known &= covered
    return [
        Interval(int(edges[i]), float(energy[i]), MEASURED if sure[i] else SPREAD)
        for i in np.flatnonzero(known).tolist()
    ]


def _of(meter: Pieces, edges: Floats) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Energy (n,) between the (n + 1,) edges, whether it is measured, whether it is covered."""
    times = np.stack([meter.begin, meter.end], 1).ravel()
    counted = np.repeat(np.concatenate([[0.0], np.cumsum(meter.kwh)]), 2)[1:-1]
    kwh = np.diff(np.interp(edges, times, counted))
    # Where nobody measured, no energy is made up.
    gap = np.clip(meter.begin[1:] - meter.end[:-1], 0.0, None)
    missing = np.concatenate([[0.0], np.cumsum(gap)])
    lost = np.repeat(missing, 2)
    covered = np.diff(np.interp(edges, times, lost)) <= _HAIR_S
    good = _well_known(meter, edges)
    doubtful = np.concatenate(
        [[0.0], np.cumsum(np.where(meter.sure, 0.0, meter.end - meter.begin))]
    )
    unsure = np.repeat(doubtful, 2)[1:-1]
    clean = np.diff(np.interp(edges, times, unsure)) <= 0
    return kwh, good[:-1] & good[1:] & clean, covered


def _well_known(meter: Pieces, edges: Floats) -> NDArray[np.bool_]:
    """Whether the meter spoke near enough to each edge."""
    last = len(meter.begin) - 1
    at = np.clip(np.searchsorted(meter.end, edges - _HAIR_S), 0, last)
    before, after = edges - meter.begin[at], meter.end[at] - edges
    on_edge = (np.abs(before) <= _HAIR_S) | (np.abs(after) <= _HAIR_S)
    # A meter that speaks once an hour does not measure half hours, however regular it is.
    often = before + after <= 1.5 * (edges[1] - edges[0])
    near = often & (before <= meter.reach_s + _HAIR_S) & (after <= meter.reach_s + _HAIR_S)
    still = meter.kwh[at] <= meter.resolution_kwh + 1e-9
    return np.asarray(on_edge | (near & meter.sure[at]) | (still & meter.sure[at]))
