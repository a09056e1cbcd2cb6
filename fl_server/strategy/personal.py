"""Strategies under which each household forecasts with weights of its own.

What is personal stays on the household's disk. The server's part is FedAvg and a few words in the
config; the household's part is ``fl_client/participant.py``.
"""

from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord

from common.model_messages import (
    DITTO_LAMBDA,
    DITTO_STEPS,
    FINE_TUNE_STEPS,
    HEAD_STEPS,
    PERSONAL_LAYERS,
)
from fl_server.strategy.fedavg import FedAvg

LAST_LAYERS = "heads.,mean.,quantiles.,season.,long.out.,price.out.,net.out."
"""Prefixes of the last layers of this project's presets."""


@dataclass(eq=False)
class FedPer(FedAvg):
    """Arivazhagan et al. 2019 (arXiv:1912.00818): the last layers stay at home, the rest is shared.

    ``personal``: comma-separated prefixes of array names, of which at least one must occur.
    """

    personal: str = LAST_LAYERS

    def __post_init__(self) -> None:
        self.layers = tuple(part.strip() for part in self.personal.split(",") if part.strip())
        if not self.layers:
            raise ValueError("personal names no layer")

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Name the personal layers."""
        if not any(name.startswith(self.layers) for name in arrays):
            raise ValueError(f"personal = {','.join(self.layers)!r}: the model has no such layer")
        config[PERSONAL_LAYERS] = ",".join(self.layers)


@dataclass(eq=False)
class FedRep(FedPer):
    """Collins et al. 2021 (arXiv:2102.07078): ``head_steps`` on the personal layers first."""

    head_steps: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_steps < 1:
            raise ValueError(f"head_steps {self.head_steps} is below 1")
        self.head_steps = int(self.head_steps)

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Name the personal layers and their steps."""
        super().instruct(config, arrays)
        config[HEAD_STEPS] = self.head_steps


@dataclass(eq=False)
class Ditto(FedAvg):
    """Li et al. 2021 (arXiv:2012.04221): beside FedAvg, each household trains a model of its own.

    The own model takes ``ditto_steps`` a round, pulled to the global one by
    ``ditto_lambda``/2 ||v - w||^2.
    """

    ditto_lambda: float = 0.1
    ditto_steps: int = 4

    def __post_init__(self) -> None:
        if self.ditto_lambda < 0 or self.ditto_steps < 1:
            raise ValueError("ditto_lambda must be at least 0 and ditto_steps at least 1")
        self.ditto_lambda, self.ditto_steps = float(self.ditto_lambda), int(self.ditto_steps)

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Ask for an own model."""
        config[DITTO_LAMBDA] = self.ditto_lambda
        config[DITTO_STEPS] = self.ditto_steps


@dataclass(eq=False)
class FineTuned(FedAvg):
    """FedAvg whose households train what they receive a little before they forecast with it."""

    fine_tune_steps: int = 4

    def __post_init__(self) -> None:
        if self.fine_tune_steps < 1:
            raise ValueError(f"fine_tune_steps {self.fine_tune_steps} is below 1")
        self.fine_tune_steps = int(self.fine_tune_steps)

    def instruct(self, config: ConfigRecord, arrays: ArrayRecord) -> None:
        """Ask for fine-tuning."""
        config[FINE_TUNE_STEPS] = self.fine_tune_steps
