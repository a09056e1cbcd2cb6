"""Scores per home, of the community, and paired intervals between two ways to forecast."""

from collections.abc import Mapping

import numpy as np

from common.arrays import Floats
from common.forecast import metrics
from common.rng import generator

BOOTSTRAP = 10_000


def per_home(forecast: Floats, actual: Floats, scale: Floats) -> dict[str, Floats]:
    """Score (H, n, steps) forecasts against actuals with nan gaps: arrays (H,) by metric.

    ``scale`` (H,) is each home's weekly-naive error over the training span.
    """
    homes = range(len(actual))
    return {
        "mae": np.array([metrics.mae(forecast[h], actual[h]) for h in homes]),
        "rmse": np.array([metrics.rmse(forecast[h], actual[h]) for h in homes]),
        "nrmse": np.array([metrics.nrmse(forecast[h], actual[h]) for h in homes]),
        "mase": np.array([metrics.mase(forecast[h], actual[h], scale[h]) for h in homes]),
        "bias": np.array([metrics.bias(forecast[h], actual[h]) for h in homes]),
    }


def quantile_scores(
    quantiles: Floats, actual: Floats, levels: tuple[float, ...]
) -> dict[str, Floats]:
    """Score (H, n, Q, steps) quantiles: ``pinball`` and coverage of the central 80 and 90 %."""
    homes = range(len(actual))

    def covered(low: float, high: float) -> Floats:
        bottom, top = quantiles[:, :, levels.index(low)], quantiles[:, :, levels.index(high)]
        return np.array([metrics.coverage(bottom[h], top[h], actual[h]) for h in homes])

    return {
        "pinball": np.array([metrics.pinball(quantiles[h], actual[h], levels) for h in homes]),
        "coverage_80": covered(0.1, 0.9),
        "coverage_90": covered(0.05, 0.95),
    }


def community_nrmse(forecast: Floats, actual: Floats) -> float:
    """nRMSE of the summed load of all homes; a home counts in neither sum where it was silent."""
    seen = ~np.isnan(actual)
    total = np.where(seen, actual, 0.0).sum(axis=0)
    return metrics.nrmse(np.where(seen, forecast, 0.0).sum(axis=0), total)


def summarise(homes: Mapping[str, Floats]) -> dict[str, float]:
    """Means over the homes, and the 90th percentile of nRMSE and MASE."""
    # A metric no home has, such as the MASE of a tariff that repeats every week, stays nan.
    known = {name: values[~np.isnan(values)] for name, values in homes.items()}
    summary = {name: float(v.mean()) if len(v) else float("nan") for name, v in known.items()}
    for name in ("nrmse", "mase"):
        if len(known.get(name, ())):
            summary[f"{name}_p90"] = float(np.percentile(known[name], 90))
    return summary


def paired_interval(ours: Floats, theirs: Floats, seed: int) -> dict[str, float]:
    """Mean of ours - theirs over the homes, (H,), with its 95 % bootstrap interval over homes.

    ``better`` is the share of homes where ours is lower.
    """
    difference = (ours - theirs)[~np.isnan(ours - theirs)]
    rng = generator(seed, "", 0, "bootstrap")
    draws = rng.integers(0, len(difference), (BOOTSTRAP, len(difference)))
    low, high = np.percentile(difference[draws].mean(axis=1), [2.5, 97.5])
    return {
        "difference": float(difference.mean()),
        "low": float(low),
        "high": float(high),
        "better": float((difference < 0).mean()),
    }
