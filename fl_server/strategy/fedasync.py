"""FedAsync: each update is mixed into the model when it comes, the less the older its start.

Xie, Koyejo and Gupta, "Asynchronous Federated Optimization", 2019 (arXiv:1903.03934), algorithm 1:
x_t = (1 - alpha_t) x_(t-1) + alpha_t x_new with alpha_t = alpha s(t - tau), here with their
polynomial s(u) = (u + 1)^-a. Households minimise their loss and rho/2 ||x - x_tau||^2.
"""

from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord

from common.model_messages import PROXIMAL_MU
from fl_server.strategy.asynchronous import Arrays, Asynchronous


@dataclass(eq=False)
class FedAsync(Asynchronous):
    """``alpha``: how far a fresh update moves the model towards itself. ``exponent``: the a above;
    0 does without staleness. ``rho``: pull of the household towards what it was sent."""

    alpha: float = 0.6
    exponent: float = 0.5
    rho: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.alpha <= 1:
            raise ValueError(f"alpha {self.alpha} is not above 0 and at most 1")
        for name in ("exponent", "rho"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} is below 0")

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Set the proximal term."""
        config[PROXIMAL_MU] = float(self.rho)

    def take(
        self, model: Arrays, trained: Arrays, started: Arrays, staleness: int
    ) -> Arrays | None:
        """Mix the update in."""
        share = np.float32(self.alpha * (staleness + 1.0) ** -self.exponent)
        return {n: (np.float32(1) - share) * x + share * trained[n] for n, x in model.items()}
