"""What the ClientApp hands to the process that steers the battery: the plan of the newest interval.

``STATE/steering.json``, replaced with every decision. Fills and allowance are announced later, and
stand in the household's own state file.
"""

import json
import math
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
    try:
        steering = Steering(**{**plain, "plan": tuple(plain.get("plan", ()))})
        _check(steering)
    except (TypeError, ValueError, KeyError, AttributeError):  # of another release, or nobody's
        return None
    return steering


def _check(steering: Steering) -> None:
    """Raises TypeError, ValueError. Prices may be unknown, and the plan of who holds is of nan."""
    if not all(isinstance(one, str) for one in (steering.run, steering.trader, steering.reason)):
        raise TypeError("run, trader, reason")
    if not isinstance(steering.t, int) or not isinstance(steering.options, dict):
        raise TypeError("t, options")
    battery, connection = steering.battery.values(), steering.connection.values()
    if not all(map(math.isfinite, (steering.start, steering.seconds, steering.usual_kw, *battery))):
        raise ValueError("start, seconds, usual_kw, battery")
    if any(map(math.isnan, connection)) or any(map(math.isinf, steering.plan)):
        raise ValueError("connection, plan")
    prices = (steering.retail, steering.feed_in, steering.shortfall, steering.unused)
    if not steering.plan or any(map(math.isinf, prices)):
        raise ValueError("plan, prices")
    if steering.seconds <= 0 or steering.battery["capacity_kwh"] <= 0:
        raise ValueError("seconds, capacity_kwh")
