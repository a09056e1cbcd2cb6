"""What a kWh may cost among the neighbours: paths of the public local price, one per past day.

The market is learned from scratch in every run, from its public prices alone. What the last hour's
prices departed by goes on for a while, unless this market's own past says that it does not.
"""

import numpy as np
from numpy.typing import NDArray

from common.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def residuals(past: Floats, day: int, days: int, span: int) -> Floats:
    """How far the last ``span`` prices (L,) were from the mean of the same slot on ``days`` days.

    (span,), the last one of t-1; nan where no earlier day is known.
    """
    length = past.shape[0]
    result = np.full(span, np.nan)
    for i in range(min(span, length)):
        row = length - 1 - i
        total, count = 0.0, 0
        for w in range(days):
            before = row - (w + 1) * day
            if before >= 0 and np.isfinite(past[before]):
                total += past[before]
                count += 1
        if count > 0:
            result[span - 1 - i] = past[row] - total / count
    return result


@compiled
def lasting(
    past_local: Floats,
    day: int,
    days: int,
    recent: int,
    recent_fade: float,
    now: float,
    fade: float,
    window: int,
) -> Floats:
    """How far departures of this market's prices go on, for buying and selling (2,): now or 0.

    past_local: (L, 2), last row t-1. Over the last ``window`` intervals each departure of the
    ``recent`` intervals before (weights falling by ``recent_fade``) is carried ``now * fade^j``
    far through the next quarter of a day. Where that would have been no nearer, in squared error,
    to the prices that came than the mean of the days before, nothing is carried.
    """
    result = np.zeros(2)
    if now == 0.0:
        return result
    for side in range(2):
        left = residuals(past_local[:, side], day, days, window + recent)
        gained = 0.0
        for origin in range(recent, window + recent):
            departed, total, weight = 0.0, 0.0, 1.0
            for i in range(recent):
                departed += weight * left[origin - 1 - i]
                total += weight
                weight *= recent_fade
            departed /= total
            if not np.isfinite(departed):
                continue
            share = now
            for j in range(min(day // 4, window + recent - origin)):
                came = left[origin + j]
                if np.isfinite(came):
                    gained += came * came - (came - share * departed) ** 2
                share *= fade
        if gained > 0.0:
            result[side] = now
    return result


@compiled
def paths(
    past_local: Floats,
    lag: int,
    day: int,
    retail: Floats,
    feed_in: Floats,
    loss: float,
    trust: float,
    trust_sell: float,
    days: int,
    ceiling: float,
    now: Floats,
    fade: float,
    recent: int,
    recent_fade: float,
    fee: float = 0.0,
    relative: bool = False,
) -> tuple[Floats, Floats]:
    """Buy and sell price (days, N) of each scenario's future intervals.

    A mix of ``trust`` x the public local price and the grid's price. The local price is not
    available without limit, so it is not trusted fully. That of scenario w is the price of the
    same slot on its day, moved by how far the prices of the last ``recent`` intervals (weights
    falling by ``recent_fade``) departed from those of its day: in step j by ``now * fade^j`` of
    it, ``now`` (2,) for buying and selling. Scenarios older than the market take the others'
    prices in turn.
    past_local: (L, 2) marginal [buy, sell] per delivered kWh, last row t-1; retail and feed_in
    (N,), the grid's. ``relative``: past_local counts from the tariff of its own interval, and so
    do the paths from that of theirs. ``fee``: the part of a local price that no seller gets. Prices
    above retail are believed up to ``ceiling`` (scarcity under a cap; 0 without one).
    """
    steps, length = retail.shape[0], past_local.shape[0]
    path = np.empty((2, days, steps))
    departed, found = np.zeros(days), np.empty(days)
    for side in range(2):
        for w in range(days):
            moved, total, weight = 0.0, 0.0, 1.0
            for i in range(recent):
                row = length - 1 - i
                if row >= (w + 1) * day:
                    moved += weight * (
                        past_local[row, side] - past_local[row - (w + 1) * day, side]
                    )
                    total += weight
                weight *= recent_fade
            departed[w] = moved / total if total > 0.0 and np.isfinite(moved) else 0.0
        for j in range(steps):
            ago = (j // day + 1) * day
            if lag > 0 and j % day >= day - lag:
                ago += day
            share = now[side] * fade**j
            count = 0
            for w in range(days):
                row = length + j - ago - w * day
                if row >= 0 and np.isfinite(past_local[row, side]):
                    found[count] = past_local[row, side] + share * departed[w]
                    count += 1
            for w in range(days):
                if count > 0:
                    path[side, w, j] = found[w % count]
                    if relative:
                        path[side, w, j] += (
                            retail[j] if side == 0 else feed_in[j] / (1.0 - loss) + fee
                        )
                else:
                    path[side, w, j] = retail[j] if side == 0 else feed_in[j] / (1.0 - loss) + fee
    buy, sell = path[0], path[1]
    for w in range(days):
        for j in range(steps):
            highest = max(retail[j], ceiling)
            b = min(trust * buy[w, j] + (1.0 - trust) * retail[j], highest)
            f = feed_in[j]
            if f > retail[j]:  # the grid pays more than it asks: no local price lies between
                buy[w, j], sell[w, j] = retail[j], f
                continue
            b = max(b, f + 1e-4)
            s = (1.0 - loss) * (sell[w, j] - fee)
            s = max(trust_sell * min(s, retail[j]) + (1.0 - trust_sell) * f, f)
            buy[w, j] = b
            sell[w, j] = min(s, b - 1e-6)
    return buy, sell


def from_tariff(
    past_local: Floats, retail: Floats, feed_in: Floats, loss: float, fee: float
) -> Floats:
    """Local prices (L, 2) counted from the grid's of the same intervals, ``retail`` and ``feed_in``
    (L,): how far buying is from the import price, and selling from what export earns."""
    return past_local - np.stack([retail, feed_in / (1.0 - loss) + fee], axis=1)
