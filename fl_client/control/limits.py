"""The last step before a command: whatever the plan says, the battery stays within its limits.

Pure functions; powers in kW at the battery's terminals, charging positive.
"""

from dataclasses import dataclass
from typing import NamedTuple

# A level told in whole per cent is known to half of one.
SOC_STEP = 0.01


@dataclass(frozen=True)
class Limits:
    """charge_kw, discharge_kw: most power each way. soc_min, soc_max: bounds of the state of
    charge. capacity_kwh, eta: the store, and its efficiency one way. import_kw, export_kw: what the
    connection carries."""

    charge_kw: float
    discharge_kw: float
    soc_min: float
    soc_max: float
    capacity_kwh: float
    eta: float
    import_kw: float
    export_kw: float


class Soc(NamedTuple):
    """The state of charge lies between ``low`` and ``high``."""

    low: float
    high: float


def confined(kw: float, limits: Limits, soc: Soc, net_kw: float, hold_s: float) -> float:
    """The power nearest to ``kw`` that breaks no limit in the next ``hold_s`` (a second at least).

    ``net_kw``: load less PV now. ``hold_s``: for how long a command may act that nobody takes back,
    so that not even then a bound of the state of charge is passed. The battery's own limits
    are stronger than the connection's.
    """
    hours = max(hold_s, 1.0) / 3600
    kw = min(max(kw, -limits.export_kw - net_kw), limits.import_kw - net_kw)
    room = max(limits.soc_max - soc.high, 0.0) * limits.capacity_kwh / limits.eta
    held = max(soc.low - limits.soc_min, 0.0) * limits.capacity_kwh * limits.eta
    most_in = min(limits.charge_kw, room / hours)
    most_out = min(limits.discharge_kw, held / hours)
    return min(max(kw, -max(most_out, 0.0)), max(most_in, 0.0))


class SocWatch:
    """The state of charge between two of the coarse values that a battery tells, and whether it
    still tells the truth.

    A value told is rounded: the store lies within half a step of it. From there it is carried on by
    the energy counted at the terminals, and where the value told changes it is known well. Where a
    value told and what was counted do not fit, the battery has set itself right, or it lies: both
    are held possible, so that no bound is passed by either, until enough energy has passed to see
    whether the value told follows it.
    """

    # So much of the capacity may pass without a change of the value told.
    _STUCK = 0.03
    # So much must pass, and be followed, before it is believed again: of it half is four steps, and
    # two values told are one from what they stand for at most.
    _BELIEVED = 0.08
    # The share of what was counted by which the store may differ from it.
    _COUNTING = 0.02
    # A value that flickers between two steps is this far from what was counted at most.
    _FLICKER = SOC_STEP / 2
    # What is held possible is too wide then to steer by.
    _WIDE = 0.2
    # Of what passed so much may be missing in the value told. It may go further: a battery that
    # has become smaller than its settings say is empty, and full, when it says so.
    _MISSING = 2 * SOC_STEP

    def __init__(self, capacity_kwh: float, eta: float) -> None:
        self._capacity, self._eta = capacity_kwh, eta
        self._told: float | None = None
        self._moved = 0.0  # stored [share of capacity] since the told value last changed
        self._low, self._high = 0.0, 1.0
        # Since it is doubted: the value told then, and what was stored from there on.
        self._doubted: tuple[float, float] | None = None
        self._lies = False

    def hear(self, told: float, battery_kwh: float) -> None:
        """The battery tells ``told``; ``battery_kwh`` has passed its terminals since it last did,
        charging positive."""
        stored = battery_kwh * self._eta if battery_kwh > 0 else battery_kwh / self._eta
        moved = stored / self._capacity
        self._moved += moved
        doubt = self._COUNTING * abs(moved)
        low, high = self._low + moved - doubt, self._high + moved + doubt
        half, before = SOC_STEP / 2, self._told
        if told != before:
            narrow = max(low, told - half), min(high, told + half)
            if before is not None:  # a moment ago it was still the value before
                narrow = (
                    max(narrow[0], before - half + moved - doubt),
                    min(narrow[1], before + half + moved + doubt),
                )
            if self._doubted is None and narrow[0] <= narrow[1]:
                low, high = narrow
            elif self._doubted is None and narrow[0] - narrow[1] > self._FLICKER:
                self._doubted = told, 0.0
            self._told, self._moved = told, 0.0
        if self._doubted is not None:
            low, high = min(low, told - half), max(high, told + half)
            since, passed = self._doubted[0], self._doubted[1] + moved
            self._doubted = since, passed
            followed = (told - since) * (1 if passed > 0 else -1)
            if followed < abs(passed) - self._MISSING:
                self._lies, self._doubted = True, (told, 0.0)
            elif abs(passed) > self._BELIEVED:
                self._lies, self._doubted = False, None
                low, high = told - half, told + half
        self._low, self._high = low, high

    @property
    def stuck(self) -> bool:
        """Whether the value told does not follow the energy."""
        wide = self._doubted is not None and self._high - self._low > self._WIDE
        return wide or self._lies or abs(self._moved) > self._STUCK

    @property
    def now(self) -> Soc:
        """Where the state of charge is."""
        return Soc(self._low, self._high)
