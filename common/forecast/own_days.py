"""What may happen: scenarios of net load from the household's own past.

A scenario of the next day is a day of the past, slot by slot, always strictly before the newest
known reading. For the interval that is traded now the analogous days speak: of the last weeks
those whose recent hours resembled the present ones.
"""

import numpy as np

from common.arrays import Floats, Ints
from common.compiled import compiled


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
def follow_sun(pv: Floats, past_clear: Floats, clear: Floats, lag: int, day: int) -> None:
    """Carry each scenario's PV (H, W, N), in place, from its day's clear sky to the coming one.

    past_clear (P,) on the columns of the past, clear (N',) from the current interval on. The
    ratio is kept within a factor of two: at sunrise a few minutes are many per cent.
    """
    households, scenarios, steps = pv.shape
    width = past_clear.shape[0]
    for h in range(households):
        for j in range(min(steps, clear.shape[0])):
            ago = (j // day + 1) * day
            if lag + j - ago >= 0:
                ago += day
            for w in range(scenarios):
                column = width + lag + j - ago - w * day
                if column < 0:
                    continue
                then, soon = past_clear[column], clear[j]
                if then > 0.0 and np.isfinite(soon):
                    pv[h, w, j] *= min(max(soon / then, 0.5), 2.0)


@compiled
def reshape(
    load: Floats, mean: Floats, quantiles: Floats, levels: Floats, share: float, steps: int
) -> None:
    """Move scenarios of load (H, W, N), in place, towards a forecast of the first ``steps``.

    With quantiles (H, Q, steps) at ``levels`` (Q,) the scenario of rank r takes ``share`` of the
    forecast's quantile (r + 0.5) / W and keeps the rest: the days keep their order from slot to
    slot (Schaake shuffle, Clark et al. 2004), the model gives the spread. Without quantiles
    (Q = 0) all scenarios move by ``share`` of what separates their mean from ``mean`` (H, steps).
    """
    households, scenarios, _ = load.shape
    count = levels.shape[0]
    for h in range(households):
        for j in range(min(steps, load.shape[2])):
            if count == 0:
                middle = 0.0
                for w in range(scenarios):
                    middle += load[h, w, j] / scenarios
                for w in range(scenarios):
                    load[h, w, j] = max(load[h, w, j] + share * (mean[h, j] - middle), 0.0)
                continue
            order = np.argsort(load[h, :, j], kind="mergesort")
            for r in range(scenarios):
                p = (r + 0.5) / scenarios
                i = 0
                while i < count - 2 and levels[i + 1] < p:
                    i += 1
                if count == 1:
                    q = quantiles[h, 0, j]
                else:
                    rise = (quantiles[h, i + 1, j] - quantiles[h, i, j]) / (
                        levels[i + 1] - levels[i]
                    )
                    q = quantiles[h, i, j] + rise * (p - levels[i])
                w = order[r]
                load[h, w, j] = max((1.0 - share) * load[h, w, j] + share * q, 0.0)


@compiled
def take_ranks(values: Floats, quantiles: Floats) -> None:
    """Give scenarios (H, W, N), in place, the ``quantiles`` (H, Q, K) of the first K steps.

    The scenario of rank r takes the quantile at level (r + 0.5) / W, those given being at
    (q + 0.5) / Q: days keep their order in every step, the quantiles say how high and how far
    apart. Where a quantile is not finite the scenarios of that step stay as they are.
    """
    households, scenarios, steps = values.shape
    count = quantiles.shape[1]
    for h in range(households):
        for j in range(min(steps, quantiles.shape[2])):
            if not np.isfinite(quantiles[h, :, j]).all():
                continue
            order = np.argsort(values[h, :, j], kind="mergesort")
            for r in range(scenarios):
                place = (r + 0.5) * count / scenarios - 0.5
                place = min(max(place, 0.0), count - 1.0)
                i = min(int(place), count - 2) if count > 1 else 0
                low = quantiles[h, i, j]
                part = place - i
                high = quantiles[h, min(i + 1, count - 1), j]
                values[h, order[r], j] = low if part == 0.0 else low + part * (high - low)


@compiled
def persist(
    load: Floats,
    pv: Floats,
    past_load: Floats,
    past_pv: Floats,
    lag: int,
    day: int,
    span: int,
    fade: float,
    load_now: float,
    load_fade: float,
    pv_now: float,
    pv_fade: float,
    trace: float,
) -> Floats:
    """Condition scenarios on the last hours; net load (H, W, N).

    load, pv (H, W, N) as ``recent_days`` gives them. Today's departure from scenario w over the
    last ``span`` known intervals (weights falling by ``fade``) is expected to go on: the load of
    step j moves by ``load_now * load_fade^j`` of it, the PV by ``pv_now * pv_fade^j`` of it in
    proportion to the mean profile, so a cloudy morning lowers the forecast of noon by the same
    share. Less PV than about ``trace`` [kWh per interval] is dawn: it tells no clearness.
    """
    households, scenarios, steps = load.shape
    width = past_load.shape[1]
    net = np.empty((households, scenarios, steps))
    from_load, from_pv = np.empty(scenarios), np.empty(scenarios)
    for h in range(households):
        mean_recent, today_pv, today_load, total = 0.0, 0.0, 0.0, 0.0
        from_load[:] = 0.0
        from_pv[:] = 0.0
        weight = 1.0
        for i in range(min(span, width)):
            column = width - 1 - i
            total += weight
            today_load += weight * past_load[h, column]
            today_pv += weight * past_pv[h, column]
            for w in range(scenarios):
                before = column - (w + 1) * day
                if before >= 0:
                    from_load[w] += weight * past_load[h, before]
                    from_pv[w] += weight * past_pv[h, before]
                else:
                    from_load[w] += weight * past_load[h, column]
                    from_pv[w] += weight * past_pv[h, column]
            weight *= fade
        total = max(total, 1e-9)  # no history: nothing has departed from anything
        for w in range(scenarios):
            mean_recent += from_pv[w] / scenarios
        load_share, pv_share = load_now * load_fade**lag, pv_now * pv_fade**lag
        for j in range(steps):
            mean, most = 0.0, 0.0
            for w in range(scenarios):
                mean += pv[h, w, j] / scenarios
                most = max(most, pv[h, w, j])
            for w in range(scenarios):
                moved_load = load_share * (today_load - from_load[w]) / total
                moved_pv = pv_share * mean * (today_pv - from_pv[w]) / (mean_recent + trace * total)
                if not np.isfinite(moved_load):
                    moved_load = 0.0
                if not np.isfinite(moved_pv):
                    moved_pv = 0.0
                net[h, w, j] = max(load[h, w, j] + moved_load, 0.0) - min(
                    max(pv[h, w, j] + moved_pv, 0.0), 1.25 * most
                )
            load_share *= load_fade
            pv_share *= pv_fade
    return net


@compiled
def alike_days(
    past: Floats, lag: int, day: int, count: int, days: int, hours: int, fade: float
) -> Ints:
    """How many days before yesterday the ``count`` days most like the present lie, (H, count).

    Of the last ``days`` those whose last ``hours`` known intervals have a small weighted squared
    difference from the present ones, the weight falling by ``fade`` per interval of age. In turn
    where there are fewer than ``count``; -1 where the past is too short for any.
    """
    households, width = past.shape
    now = width + lag
    result = np.full((households, count), -1)
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
            result[h, w] = order[w % known]
    return result


@compiled
def analogous(
    past: Floats, lag: int, day: int, count: int, days: int, hours: int, fade: float
) -> Floats:
    """Net load now (H, count) on the ``count`` days most like the present of the last ``days``.

    See ``alike_days``. nan where the past is too short.
    """
    households, width = past.shape
    alike = alike_days(past, lag, day, count, days, hours, fade)
    result = np.full((households, count), np.nan)
    for h in range(households):
        for w in range(count):
            if alike[h, w] >= 0:
                result[h, w] = past[h, width + lag - (alike[h, w] + 1) * day]
    return result
