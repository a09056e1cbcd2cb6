"""FedBuff: updates are collected as they come, and every K of them are one step of the model.

Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", 2022 (arXiv:2106.06639),
algorithm 1: x <- x + eta/K sum of s(tau_i) (y_i - x_i), the sum over the K updates in the buffer,
from the model x_i that household i was sent to its y_i; s(tau) = 1 / sqrt(1 + tau). All updates
count alike, whatever they were trained on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.arrays import Floats32
from fl_server.strategy.asynchronous import Arrays, Asynchronous


@dataclass(eq=False)
class FedBuff(Asynchronous):
    """``buffer``: the K above. ``server_learning_rate``: the eta above.

    By default it is below the 1 of a full step: homes of one speed fill the buffer several times
    with changes of one model, and all these steps add up. 15 homes and K = 5 make 1 + 2**-0.5 +
    3**-0.5 = 2.3 times their mean change, which overshoots.
    """

    buffer: int = 5
    server_learning_rate: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.buffer < 1:
            raise ValueError(f"buffer {self.buffer} is below 1")
        if self.server_learning_rate <= 0:
            raise ValueError(f"server_learning_rate {self.server_learning_rate} is not above 0")
        self.held = 0
        self.total: dict[str, Floats32] = {}

    def state(self) -> dict[str, object]:
        """The buffer as well: households that were heard are not asked for the same again."""
        return {**super().state(), "held": self.held, "total": self.total}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a buffer; its arrays are read from a file, and added to."""
        super().restore(state)
        self.total = {name: np.array(value) for name, value in self.total.items()}

    def take(
        self, model: Arrays, trained: Arrays, started: Arrays, staleness: int
    ) -> Arrays | None:
        """Put the update into the buffer; a step of the model where that is full."""
        share = np.float32((1.0 + staleness) ** -0.5)
        changes = {name: share * (trained[name] - started[name]) for name in model}
        if self.total:
            changes = {name: self.total[name] + change for name, change in changes.items()}
        self.total, self.held = changes, self.held + 1
        if self.held < self.buffer:
            return None
        rate = np.float32(self.server_learning_rate / self.held)
        step = {name: x + rate * self.total[name] for name, x in model.items()}
        self.total, self.held = {}, 0
        return step
