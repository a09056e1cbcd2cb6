"""CPU seconds by part: functions of interest are wrapped, and each counts only its own time."""

import time
from typing import TYPE_CHECKING

from simulations.benchmarks.scale.own_time import OwnTime

if TYPE_CHECKING:
    from fl_client.trader import Trader

PARTS = (
    "data",
    "forecast",
    "correction",
    "plan",
    "dispatch",
    "settle",
    "files",
    "training",
    "evaluation",
    "clear",
    "ledger",
    "aggregation",
    "checkpoint",
)
"""What is told apart; the rest of a process is start-up (until ``started``) and engine."""
DECISIONS = ("plan", "correction", "forecast")
"""Of these, what it takes to decide: the trader by own days, the model's correction of their
scenarios, and its forecasts of days."""


class Parts(OwnTime):
    """CPU seconds of this thread by part. What a part calls of another counts for that one."""

    def __init__(self) -> None:
        super().__init__(PARTS)
        self.start_up = 0.0

    def started(self) -> None:
        """Everything up to now was start-up: imports, mostly."""
        self.start_up = time.process_time()

    def totals(self) -> dict[str, float]:
        """Seconds by part, with ``start-up`` and ``engine``, which is all that is left."""
        rest = time.process_time() - self.start_up - sum(self.seconds.values())
        return {**self.seconds, "start-up": self.start_up, "engine": max(rest, 0.0)}


def install() -> Parts:
    """Wrap the parts of households and of the coordinator in this process."""
    from fl_client import trader, traders
    from fl_client.learner import Learner
    from fl_client.log import Log
    from fl_client.physics import Physics
    from fl_client.readings import RunReadings
    from fl_server.checkpoint import Checkpoints
    from fl_server.coordinator import Coordinator
    from fl_server.ledger import Ledger
    from fl_server.strategy.fedavg import FedAvg

    parts = Parts()
    wrapped: list[tuple[type, str, str]] = [
        (RunReadings, "__init__", "data"),
        (Learner, "day_ahead", "forecast"),
        (Learner, "net_ahead", "correction"),
        (Learner, "train", "training"),
        (Learner, "receive", "evaluation"),
        (Physics, "settle", "settle"),
        (Log, "flush", "files"),
        (Coordinator, "_clear", "clear"),
        (Ledger, "record", "ledger"),
        (FedAvg, "aggregate_train", "aggregation"),
        (Checkpoints, "save", "checkpoint"),
    ]
    for owner, name, part in wrapped:
        setattr(owner, name, parts.counted(part, getattr(owner, name)))
    make = trader.make_trader
    vars(traders)["make_trader"] = lambda *args, **keywords: count_plans(  # as groups look it up
        make(*args, **keywords), parts
    )
    return parts


def count_plans(trader: "Trader", parts: Parts) -> "Trader":
    """The same trader, whose deciding counts as planning, and its dispatching apart from that."""
    for name, part in (("decide", "plan"), ("dispatch", "dispatch")):
        counted = parts.counted(part, getattr(trader, name))
        object.__setattr__(trader, name, counted)  # some traders are frozen
    return trader
