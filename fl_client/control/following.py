"""Letting the inverter hold a power at the grid's connection by itself, where it can.

It sees the house many times a second, control every few seconds: what flows both ways within an
interval while a command is on its way does not flow at all then. Powers in kW, import positive.
"""

import math
from dataclasses import replace

from fl_client.control.law import Wish
from fl_client.control.limits import Limits, Soc, confined
from fl_client.control.proof import IGNORES, WEAKER, Proof
from fl_client.control.settings import Control
from fl_client.control.sight import Seen

# An inverter that does not hold what it was told is given setpoints for so long.
_DISTRUST_S = 900.0
# A battery at this share of its power holds nothing: it does what it can.
_NEARLY, _BEYOND = 0.95, 1.03


def at_the_grid(kw: float) -> str:
    """A power at the connection in words."""
    return f"{abs(kw):.2f} kW {'to' if kw < 0 else 'from'} the grid"


class Following:
    """What the inverter was told to hold, and whether it does."""

    def __init__(self, control: Control) -> None:
        self._able = control.follow is not None
        self._proof = Proof(control.delay)
        self._distrusted_until = -math.inf
        self.told_kw: float | None = None

    def wanted(
        self, now: float, wish: Wish, power_kw: float, limits: Limits, soc: Soc, hold_s: float
    ) -> float | None:
        """The power to hold, None where the battery itself must be told.

        Held it is where the plan lets the battery serve the house, and where even its full
        ``power_kw`` either way breaks no limit in the next ``hold_s``: nobody knows what the house
        will do meanwhile.
        """
        if not self._able or wish.grid_kw is None or now < self._distrusted_until:
            return None
        apart = replace(limits, import_kw=math.inf, export_kw=math.inf)
        for kw in (power_kw, -power_kw):
            if confined(kw, apart, soc, 0.0, hold_s) != kw:
                return None
        return round(min(max(wish.grid_kw, -limits.export_kw), limits.import_kw), 3)

    def sent(self, now: float, kw: float) -> None:
        """The inverter was told to hold ``kw``."""
        if self.told_kw is None:
            self._proof.begin(now)
        self._proof.sent(now, kw)
        self.told_kw = kw

    def end(self) -> None:
        """It holds nothing any more."""
        self.told_kw = None

    def fails(self, now: float, seen: Seen, power_kw: float) -> bool:
        """Whether the meter shows something else than was told; it is not asked again for a
        while then."""
        if self.told_kw is None:
            return False
        # An inverter of more power than the settings say must be told the battery's own.
        beyond = abs(seen.battery_kw) > _BEYOND * power_kw
        if not beyond:
            if abs(seen.battery_kw) >= _NEARLY * power_kw:
                return False
            if self._proof.see(seen.powers_at, seen.grid_kw) not in (IGNORES, WEAKER):
                return False
        self.distrust(now)
        return True

    def distrust(self, now: float) -> None:
        """Give it setpoints for a while."""
        self._distrusted_until = now + _DISTRUST_S
