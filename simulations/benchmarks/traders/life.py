"""A community's days under one setting: a run of the product, in this process.

What a benchmark changes about a run it changes by settings, but for what no setting can: what a
household is told of the future in place of what its model says.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from common.arrays import Floats
from common.config import Settings
from common.energy.battery import BatterySpec
from fl_client.app import app
from fl_client.batch import JOIN_TYPE
from fl_client.deciding import AskModel, AskNet
from fl_client.household import Group
from fl_client.session import HERE
from fl_client.state import QUANTITIES, State
from simulations.simulate import simulate
from simulations.summary import summarise

HOUSEHOLDS = "households"
"""The folder of a run in which each household has its own."""

Foresee = Callable[[Group], AskModel]
"""What the households of a group are told of the future."""
Correct = Callable[[Group], AskNet]
"""How their own days are corrected."""


def live(
    settings: Settings,
    directory: Path,
    foresee: Foresee | None = None,
    correct: Correct | None = None,
) -> dict[str, Any]:
    """Run ``settings`` with the loop engine into ``directory`` and return its summary."""
    simulate(settings, directory, client_app=told(foresee, correct))
    summary = summarise(directory, settings, 0.0)
    # A pinned household is kept in memory as long as its process lives.
    HERE.forget(list((directory / HOUSEHOLDS).iterdir()))
    return summary


def told(
    foresee: Foresee | None = None, correct: Correct | None = None
) -> ClientAppCallable | None:
    """The household's app, whose trader is told this from the moment it joins; None where that is
    what its model says."""
    if foresee is None and correct is None:
        return None

    def answer(message: Message, context: Context) -> Message:
        reply = app(message, context)
        if message.metadata.message_type == JOIN_TYPE:
            session, _ = HERE.place(context)
            deciding = session.group.deciding
            if foresee is not None:
                deciding.ask = foresee(session.group)
            if correct is not None:
                deciding.ask_net = correct(session.group)
        return reply

    return answer


def logged(directory: Path, names: Sequence[str]) -> dict[str, Floats]:
    """What the households of a finished run have noted, (H, T) by name of ``QUANTITIES``."""
    rows = []
    for name in names:
        state = State(directory / HOUSEHOLDS / name, durable=False)
        rows.append([row[3:] for row in state.rows()])
        state.close()
    values = np.array(rows, dtype=np.float64)
    return {name: values[:, :, i] for i, name in enumerate(QUANTITIES)}


def priced_by_interval(log: dict[str, Floats], battery: BatterySpec) -> Floats:
    """What each interval cost (H, T), with the change of what is stored at the mean import price.

    Summed over a run it is the bill less the energy left, at one price for the battery's content.
    """
    capacity = np.reshape(battery.capacity_kwh, (-1, 1))
    begin = np.broadcast_to(np.reshape(battery.soc_initial, (-1, 1)), (len(log["soc"]), 1))
    stored = np.diff(np.hstack([begin, log["soc"]]), axis=1) * capacity
    paid: Floats = log["cost"] - stored * log["retail"].mean(axis=1, keepdims=True)
    return paid
