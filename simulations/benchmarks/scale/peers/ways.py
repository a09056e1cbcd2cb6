"""The ways of carrying the rounds, by name, and which of them can be had here."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common.arrays import Floats32
from simulations.benchmarks.scale.peers.task import RoundClock

Carry = Callable[[Path, int, int, RoundClock], dict[str, Floats32]]

_HERE = "simulations.benchmarks.scale.peers"


@dataclass(frozen=True)
class Way:
    """Where its function is, and whether it makes use of more than one core."""

    module: str
    function: str
    parallel: bool
    title: str

    def load(self) -> Carry:
        """Import it: some ways bring frameworks along."""
        carry: Carry = getattr(importlib.import_module(f"{_HERE}.{self.module}"), self.function)
        return carry


PLAIN = "plain"
WAYS = {
    PLAIN: Way("plain", "carry", False, "plain Python loop"),
    "loop": Way("engines", "carry_loop", False, "fedwatt, loop engine"),
    "batched": Way("engines", "carry_batched", True, "fedwatt, batched engine"),
    "flower": Way("stock_flower", "carry", True, "Flower, stock simulation and FedAvg"),
    "pfl": Way("apple_pfl", "carry", False, "apple pfl, simulated backend"),
}
"""The plain loop first: the others are compared with it."""


def missing(name: str) -> str | None:
    """Why this way cannot be tried here; None where it can."""
    if name != "pfl" or importlib.util.find_spec("pfl") is not None:
        return None
    if sys.version_info >= (3, 13):
        return "pfl has no release for Python 3.13 and newer"
    return "pfl is not installed: pip install 'fedwatt[peers]'"
