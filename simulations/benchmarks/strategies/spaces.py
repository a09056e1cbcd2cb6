"""What a tuning may try: of every strategy the homes' rate and steps, and options of its own.

Ranges lie around what the papers tried and what these models stand: weights are about 0.1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.forecast.presets import find_preset
from fl_server.strategy import Option
from simulations.benchmarks.strategies.setup import OF_HOMES, Entry, Setup, entry_of


@dataclass(frozen=True)
class Range:
    """From ``low`` to ``high``, drawn evenly, or evenly in the logarithm. ``whole`` numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> Option:
        """A value, to three digits: what is written down is what was tried."""
        if self.whole and not self.log:
            return int(rng.integers(int(self.low), int(self.high) + 1))
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = float(rng.uniform(self.low, self.high))
        if self.whole:
            return min(max(round(value), int(self.low)), int(self.high))
        return float(f"{value:.3g}")


_STEP = {"eta": Range(1e-4, 0.03, log=True), "tau": Range(1e-4, 0.03, log=True)}
_SERVER_RATE = {"server_learning_rate": Range(0.3, 1.5, log=True)}

OWN: Mapping[str, Mapping[str, Range]] = {
    "fedprox": {"proximal_mu": Range(1e-3, 10.0, log=True)},
    "scaffold": _SERVER_RATE,
    "fedavgm": {"server_momentum": Range(0.0, 0.95)},
    "fedadam": _STEP,
    "fedyogi": _STEP,
    "fedadagrad": _STEP,
    "qfedavg": {"q": Range(0.01, 2.0, log=True)},
    "fedtrimmedavg": {"beta": Range(0.05, 0.4)},
    "fedrep": {"head_steps": Range(1, 8, whole=True)},
    "ditto": {
        "ditto_lambda": Range(0.01, 10.0, log=True),
        "ditto_steps": Range(1, 8, whole=True),
    },
    "fine-tuned": {"fine_tune_steps": Range(1, 8, whole=True)},
    "clustered": {"clusters": Range(2, 3, whole=True), "warmup": Range(1, 4, whole=True)},
    "centred-clipping": {"radius": Range(0.03, 3.0, log=True)},
    "fedasync": {
        "alpha": Range(0.1, 1.0),
        "exponent": Range(0.0, 1.0),
        "rho": Range(1e-3, 1.0, log=True),
    },
    "fedbuff": {
        "buffer": Range(2, 10, whole=True),
        "server_learning_rate": Range(0.05, 1.5, log=True),
    },
}
"""Strategy -> its options. One that is not here is tuned in what homes do alone."""


def space_of(entry: Entry, setup: Setup) -> dict[str, Range]:
    """What is tried for a strategy: all but what its entry says already."""
    rate = setup.learning_rate or find_preset(setup.preset).learning_rate
    steps = setup.local_steps
    homes = (
        Range(rate / 8, rate * 8, log=True),
        Range(max(1, steps // 4), 4 * steps, log=True, whole=True),
    )
    space = {**dict(zip(OF_HOMES, homes, strict=True)), **OWN.get(entry.name, {})}
    return {key: one for key, one in space.items() if key not in dict(entry.options)}


def with_values(entry: Entry, values: Mapping[str, Option]) -> Entry:
    """The entry with these options as well, as ``--strategies`` would take it."""
    options = {**dict(entry.options), **values}
    text = ",".join(f"{key}={value}" for key, value in options.items())
    return entry_of(f"{entry.name}({text})" if text else entry.name)
