"""FedProx: FedAvg whose households are pulled to the model they were sent.

Li et al., "Federated Optimization in Heterogeneous Networks", 2020 (arXiv:1812.06127): the local
objective gains mu/2 ||w - w_sent||^2. Households that take fewer steps count as they are.
"""

from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord

from common.model_messages import PROXIMAL_MU
from fl_server.strategy.fedavg import FedAvg


@dataclass(eq=False)
class FedProx(FedAvg):
    """FedAvg with a proximal term of weight ``proximal_mu``; 0 is FedAvg."""

    proximal_mu: float = 0.01

    def __post_init__(self) -> None:
        if self.proximal_mu < 0:
            raise ValueError(f"proximal_mu {self.proximal_mu} is below 0")
        self.proximal_mu = float(self.proximal_mu)

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Ask for the proximal term."""
        config[PROXIMAL_MU] = self.proximal_mu
