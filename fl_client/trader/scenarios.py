"""What may happen: scenarios of net load and of the local price from the household's own past.

A scenario of the next day is a day of the past, slot by slot, always strictly before the newest
known reading. For the interval that is traded now the analogous days speak: of the last weeks
those whose recent hours resembled the present ones.
"""

import numpy as np
from numpy.typing import NDArray

from fl_client.trader.programme import compiled

Floats = NDArray[np.float64]


@compiled
def recent_days(past: Floats, lag: int, day: int, days: int, steps: int) -> Floats:
    """Scenarios (H, days, steps) from the last ``days`` days, or fewer where the past is short.

    past: (H, P), the last column known is t-1-lag. Step j of scenario w is the reading of the
    same slot w+1 whole days before (or one more day where that one is not known yet). Missing
    readings are taken from the household's other scenarios in turn; with none at all: nan.
    """
    households, width = past.shape
    now = width + lag  # the column that interval t would have
    result = np.empty((households, days, steps))
    found = np.empty(days)
    for h in range(households):
        for j in range(steps):
            ago = (j // day + 1) * day
            # With a lagging meter the newest slots of the last day are not known yet.
            if now + j - ago >= width:
                ago += day
            count = 0
            for w in range(days):
                column = now + j - ago - w * day
                if column >= 0 and np.isfinite(past[h, column]):
                    found[count] = past[h, column]
                    count += 1
            for w in range(days):
                result[h, w, j] = found[w % count] if count > 0 else np.nan
    return result


@compiled
def analogous(
    past: Floats, lag: int, day: int, count: int, days: int, hours: int, fade: float
) -> Floats:
    """Net load now (H, count) on the ``count`` days most like the present of the last ``days``.

    Alike: small weighted squared difference of the last ``hours`` known intervals, the weight
    falling by ``fade`` per interval of age. nan where the past is too short.
    """
    households, width = past.shape
    now = width + lag
    result = np.full((households, count), np.nan)
    distance = np.empty(days)
    for h in range(households):
        known = 0
        for k in range(days):
            distance[k] = np.inf
            column = now - (k + 1) * day
            if column >= width or column - lag - hours < 0 or not np.isfinite(past[h, column]):
                continue
            total, weight = 0.0, 1.0
            for i in range(hours):
                difference = past[h, width - 1 - i] - past[h, width - 1 - i - (k + 1) * day]
                total += weight * difference * difference
                weight *= fade
            if np.isfinite(total):
                distance[k] = total
                known += 1
        if known == 0:
            continue
        order = np.argsort(distance, kind="mergesort")
        for w in range(count):
            k = order[w % known]
            result[h, w] = past[h, now - (k + 1) * day]
    return result


@compiled
def local_prices(
    past_local: Floats,
    lag: int,
    day: int,
    retail: Floats,
    feed_in: float,
    loss: float,
    trust: float,
    days: int,
) -> tuple[Floats, Floats]:
    """Buy and sell price (days, N) of each scenario's future intervals.

    A mix of ``trust`` x the public local price of the same slot of the scenario's day and the
    grid's price. The local price is not available without limit, so it is not trusted fully.
    past_local: (L, 2) marginal [buy, sell] per delivered kWh, last row t-1; retail (N,).
    """
    steps = retail.shape[0]
    length = past_local.shape[0]
    buy, sell = np.empty((days, steps)), np.empty((days, steps))
    for j in range(steps):
        ago = (j // day + 1) * day
        if lag > 0 and j % day >= day - lag:
            ago += day
        for w in range(days):
            row = length + j - ago - w * day
            b, s = retail[j], feed_in
            if row >= 0 and row < length:
                if np.isfinite(past_local[row, 0]):
                    b = past_local[row, 0]
                if np.isfinite(past_local[row, 1]):
                    s = (1.0 - loss) * past_local[row, 1]
            b = min(trust * b + (1.0 - trust) * retail[j], retail[j])
            b = max(b, feed_in + 1e-4)
            s = max(trust * s + (1.0 - trust) * feed_in, feed_in)
            buy[w, j] = b
            sell[w, j] = min(s, b - 1e-6)
    return buy, sell
