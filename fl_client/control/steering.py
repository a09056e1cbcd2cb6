"""What the ClientApp hands to the process that steers the battery: the plan of the newest interval.

``STATE/steering.json``, replaced with every decision. Fills and allowance are announced later, and
stand in the household's own state file.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common.energy.battery import BatterySpec
from common.files import read_passing, write_whole

STEERING = "steering.json"


@dataclass(frozen=True)
class Steered:
    """A battery that is steered, or would be. ``commanded``: it is, and the home trades with it.

    Otherwise it serves its house by itself, and the home trades with its net load as it is.
    """

    battery: BatterySpec
    commanded: bool


@dataclass(frozen=True)
class Steering:
    """run: its id. t: the interval decided. start, seconds: when it begins [s since 1970], and its
    length. trader, options: who made ``plan``, a row of ``Decision.plan``. battery, connection:
    fields of BatterySpec and ConnectionSpec. retail, feed_in: the grid's prices per kWh; shortfall,
    unused: what energy sold and not sent costs at least, and bought and not used earns at most.
    usual_kw: the mean load less PV that the past says. reason: why the trader holds, "" where it
    does not."""

    run: str
    t: int
    start: float
    seconds: float
    trader: str
    options: dict[str, float | int | str | bool]
    plan: tuple[float, ...]
    battery: dict[str, float]
    connection: dict[str, float]
    retail: float
    feed_in: float
    shortfall: float
    unused: float
    usual_kw: float
    reason: str = ""

    @property
    def end(self) -> float:
        """When the interval ends [s since 1970]."""
        return self.start + self.seconds

    def write(self, folder: Path) -> None:
        """Hand it over; the newest replaces."""
        write_whole(folder / STEERING, json.dumps(asdict(self)))


def read_steering(folder: Path) -> Steering | None:
    """What was handed over last; None where there is nothing, or nothing that can be read."""
    plain = read_passing(folder / STEERING)
    plan = plain.get("plan")
    if not isinstance(plan, Sequence):
        return None
    try:
        return Steering(**{**plain, "plan": tuple(plan)})
    except TypeError:  # of another release
        return None
