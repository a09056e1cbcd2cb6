"""Attacks of several households that know each other's honest updates, and fit theirs to them.

Each is a function of the honest changes of those who attack, rows of (M, P): what they would have
sent is all they know of the others.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]

COLLUDING = ("alie", "inner-product", "min-max")


def crafted(kind: str, honest: Floats, scale: float, households: int) -> Floats:
    """The change (P,) that all attackers send, from their own honest ones (M, P).

    ``alie``: a little is enough (Baruch, Baruch and Goldberg 2019, arXiv:1902.06156): the mean
    less z standard deviations, z the largest at which a majority of ``households`` would still be
    nearer to the honest than the attackers are, were changes normal. ``inner-product`` (Xie,
    Koyejo and Gupta 2019, arXiv:1903.03936): ``scale`` times the mean, backwards. ``min-max``
    (Shejwalkar and Houmansadr 2021, NDSS): as far against the standard deviation as no farther
    from any honest change than the two most distant honest ones are from each other.
    """
    mean, deviation = honest.mean(axis=0), honest.std(axis=0)
    if kind == "inner-product":
        return np.asarray(-scale * mean)
    if kind == "alie":
        return np.asarray(mean - hidden(households, len(honest)) * deviation)
    return _min_max(honest, mean, deviation)


def hidden(households: int, attackers: int) -> float:
    """z of ``alie``: the quantile of (n - m - s) / (n - m) with s = floor(n / 2 + 1) - m."""
    supporters = households // 2 + 1 - attackers
    share = (households - attackers - supporters) / max(households - attackers, 1)
    return float(norm.ppf(np.clip(share, 0.5, 1 - 1e-6)))


def _min_max(honest: Floats, mean: Floats, deviation: Floats) -> Floats:
    reach = max(float(np.linalg.norm(honest - row, axis=1).max()) for row in honest)
    low, high = 0.0, 1.0

    def far(gamma: float) -> float:
        return float(np.linalg.norm(honest - (mean - gamma * deviation), axis=1).max())

    if not deviation.any():
        return mean
    while far(high) <= reach and high < 1e6:
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if far(middle) <= reach else (low, middle)
    return np.asarray(mean - low * deviation)
