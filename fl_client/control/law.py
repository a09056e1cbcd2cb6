"""The control law: the plan's recourse for a whole interval, followed while it runs.

Pure functions. At each step the interval's net load is what the meter has counted and what is
expected of the rest; the recourse says what the battery should do with that in the whole interval;
what is missing of it is done in the time left. Energies kWh, powers kW, charging positive.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

# What the house draws now goes on, and fades into what is usual, with this time constant.
MEMORY_S = 600.0
# What flows through the meter in an interval that is meant to keep it still.
_STILL_KWH = 0.002
# A battery that only charges, or only discharges, is so far from the other when it may follow.
_CLEAR_KW = 0.1


class Recourse(Protocol):
    """What a plan lets the battery do in one interval."""

    def target(self, net_kwh: float) -> float:
        """The battery's action [kWh] where the interval's load less PV is ``net_kwh``."""
        ...

    def bounds(self) -> tuple[float, float]:
        """The actions [kWh] for very much and for very little net load, connection apart."""
        ...


@dataclass(frozen=True)
class Course:
    """How an interval goes, at the moment from which on a command acts.

    net_kwh: load less PV since its begin. battery_kwh: what the battery has done since. net_kw:
    load less PV now. usual_kw: its mean in this interval, as the past says. left_s: until the end.
    """

    net_kwh: float
    battery_kwh: float
    net_kw: float
    usual_kw: float
    left_s: float


class Wish(NamedTuple):
    """``target_kwh``: the battery's action in the whole interval. ``rest_kwh``: load less PV
    expected until its end. ``kw``: power at the terminals from now on. ``grid_kw``: power at the
    connection, import positive, that comes to the same where the plan lets the battery serve the
    house, whatever the house does; None where it does not."""

    target_kwh: float
    rest_kwh: float
    kw: float
    grid_kw: float | None = None


def expected_kw(net_kw: float, usual_kw: float, left_s: float) -> float:
    """Mean net load [kW] of the next ``left_s``: that of now, fading into the usual one."""
    if not left_s > 0:
        return net_kw
    weight = MEMORY_S * -math.expm1(-left_s / MEMORY_S) / left_s
    return usual_kw + (net_kw - usual_kw) * weight


def wish(course: Course, recourse: Recourse, least_s: float) -> Wish:
    """What the battery should do now.

    Where the plan lets it serve the house the battery follows the house, so that the meter runs one
    way; where it only charges, or only discharges, it goes the other way for a correction alone.
    ``least_s``: time between two commands; nothing is made up for in less.
    """
    mean_kw = expected_kw(course.net_kw, course.usual_kw, course.left_s)
    rest_kwh = mean_kw * max(course.left_s, 0.0) / 3600
    target_kwh = recourse.target(course.net_kwh + rest_kwh)
    even_kw = (target_kwh - course.battery_kwh) * 3600 / max(course.left_s, least_s, 1.0)
    most_out, most_in = recourse.bounds()
    low = min(-math.inf if most_out < 0 else 0.0, even_kw)
    high = max(math.inf if most_in > 0 else 0.0, even_kw)
    follow_kw = even_kw + (mean_kw - course.net_kw)
    grid_kw = _one_way(even_kw + mean_kw, course.net_kwh + rest_kwh + target_kwh)
    clear = low + _CLEAR_KW < grid_kw - course.net_kw < high - _CLEAR_KW
    kw = min(max(follow_kw, low), high)
    return Wish(target_kwh, rest_kwh, kw, grid_kw if clear else None)


def _one_way(grid_kw: float, flow_kwh: float) -> float:
    """``grid_kw``, unless it runs against the interval's ``flow_kwh``: a meter whose registers
    count both ways forgets nothing that flows back."""
    if abs(flow_kwh) < _STILL_KWH:
        return 0.0
    return max(grid_kw, 0.0) if flow_kwh > 0 else min(grid_kw, 0.0)


def carried_on(
    net_kwh: float, battery_kwh: float, net_kw: float, battery_kw: float, seconds: float
) -> tuple[float, float]:
    """(Net load, battery) [kWh] after so many more seconds at these powers: a reading is old, and a
    command does not act at once."""
    return net_kwh + net_kw * seconds / 3600, battery_kwh + battery_kw * seconds / 3600
