"""What a household's readings look like in a dozen figures, and what is suspicious about them."""

from dataclasses import dataclass, replace

import numpy as np

from common.arrays import Floats
from common.data.frame import DAY, Household

WEEK = 7 * DAY
_MOST_KWH = 15.0  # 30 kW for half an hour: what the connection of a home carries


@dataclass(frozen=True)
class Quality:
    """Figures of the measured half hours; NaN where the span is too short to say."""

    days: float
    kwh_per_day: float
    pv_per_day: float
    missing: float  # share of half hours that were filled
    zeros: float  # share of half hours that read exactly 0
    flat: float  # share of source intervals equal to the one before, zeros aside
    day_correlation: float
    week_correlation: float
    load_factor: float  # mean over peak
    peak_kwh: float
    below_100_wh: float  # share of half hours
    difficulty: float  # nRMSE of the mean of the last 7 days, same half hour
    suspicious: tuple[str, ...] = ()


def correlation(load: Floats, lag: int) -> float:
    """Correlation of a series with itself ``lag`` half hours before; NaN values are left out."""
    if len(load) <= lag + DAY:
        return float("nan")
    now, then = load[lag:], load[:-lag]
    both = np.isfinite(now) & np.isfinite(then)
    now, then = now[both], then[both]
    if len(now) < 2 or now.std() == 0 or then.std() == 0:
        return float("nan")
    return float(np.corrcoef(now, then)[0, 1])


def difficulty(load: Floats) -> float:
    """RMSE over mean of forecasting by the mean of the last 7 days, same half hour."""
    days = len(load) // DAY
    if days < 8:
        return float("nan")
    table = load[: days * DAY].reshape(days, DAY)
    seen = np.isfinite(table)
    total = np.cumsum(np.vstack([np.zeros((1, DAY)), np.where(seen, table, 0.0)]), axis=0)
    count = np.cumsum(np.vstack([np.zeros((1, DAY)), seen]), axis=0)
    sums, counts = total[7:-1] - total[:-8], count[7:-1] - count[:-8]
    mean = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    error = table[7:] - mean
    return float(np.sqrt(np.nanmean(error**2)) / np.nanmean(table[7:]))


def measure(home: Household) -> Quality:
    """Return the figures of one household. Filled half hours are left out of all of them."""
    return _measure(home, scores=True)


def doubts_of(home: Household) -> list[str]:
    """Return what is suspicious about a household, without the figures that cost time."""
    return list(_measure(home, scores=False).suspicious)


def _measure(home: Household, *, scores: bool) -> Quality:
    load = np.where(home.filled_rows, np.nan, home.consumption)
    pv = home.frame["pv"].to_numpy(np.float64)
    known = load[np.isfinite(load)]
    mean, peak = (float(known.mean()), float(known.max())) if len(known) else (0.0, 0.0)
    step = home.resolution_minutes // 30
    coarse = load[: len(load) // step * step].reshape(-1, step).sum(axis=1)
    same = (np.diff(coarse) == 0) & (coarse[1:] > 0)
    figures = Quality(
        days=len(load) / DAY,
        kwh_per_day=mean * DAY,
        pv_per_day=float(pv.mean()) * DAY,
        missing=float(home.filled_rows.mean()),
        zeros=float((known == 0).mean()) if len(known) else 1.0,
        flat=float(same.mean()) if len(same) else 0.0,
        day_correlation=correlation(load, DAY),
        week_correlation=correlation(load, WEEK) if scores else float("nan"),
        load_factor=mean / peak if peak > 0 else float("nan"),
        peak_kwh=peak,
        below_100_wh=float((known < 0.1).mean()) if len(known) else 1.0,
        difficulty=difficulty(load) if scores else float("nan"),
    )
    return replace(figures, suspicious=tuple(_doubts(home, figures, load, pv)))


def _doubts(home: Household, q: Quality, load: Floats, pv: Floats) -> list[str]:
    """Name what real meters of real homes do not do."""
    doubts = []
    if q.days < 29:
        doubts.append(f"only {q.days:.0f} days: too short for lags of four weeks")
    if q.missing > 0.05:
        doubts.append(f"{q.missing:.0%} of the half hours are filled")
    if q.kwh_per_day == 0:
        return [*doubts, "no consumption at all"]
    if q.kwh_per_day < 0.5 or q.kwh_per_day > 150:
        doubts.append(f"{q.kwh_per_day:.2f} kWh per day: another unit?")
    if q.peak_kwh > _MOST_KWH:
        doubts.append(f"{q.peak_kwh:.1f} kWh in one half hour: a false reading, or another meter?")
    if q.zeros > 0.2:
        doubts.append(f"{q.zeros:.0%} of the half hours read 0: empty home or net meter?")
    if q.flat > 0.3:
        doubts.append(f"{q.flat:.0%} of the readings repeat the one before: interpolated?")
    if q.day_correlation > 0.85:
        doubts.append("each day is nearly the day before: not a meter's readings")
    run = _longest_run(load)
    if run >= 3 * DAY:
        doubts.append(f"the same value for {run / DAY:.0f} days on end")
    if q.pv_per_day > 0:
        local = home.frame.index.tz_convert(home.timezone)  # type: ignore[attr-defined]
        night = np.asarray((local.hour < 3) | (local.hour >= 23))
        share = float(pv[night].sum() / max(pv.sum(), 1e-12))
        if share > 0.02:
            doubts.append(f"{share:.0%} of the PV falls at night: another clock?")
        if q.pv_per_day < 0.5:
            doubts.append(f"PV of {q.pv_per_day:.2f} kWh per day: broken or shaded?")
    price = home.frame["price"].to_numpy(np.float64)
    if price.max() > 5:
        doubts.append(f"prices up to {price.max():g} per kWh: per MWh?")
    return doubts


def _longest_run(load: Floats) -> int:
    """Return the length of the longest stretch of one measured value."""
    change = np.flatnonzero(np.diff(load) != 0)  # NaN differs from everything, itself included
    edges = np.concatenate([[-1], change, [len(load) - 1]])
    return int(np.diff(edges).max()) if len(load) else 0
