"""The grid connection: what flows where once load, PV, battery and trades are fixed.

What is bought from neighbours arrives over the connection and counts against the import limit;
what is sold to them counts against the export limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.arrays import Floats, Ints, Mask
from common.errors import InputError


@dataclass(frozen=True)
class ConnectionSpec:
    """Most energy per half hour each way [kWh], P2P included; scalars or (H,)."""

    import_kwh: float | Floats = 10.0
    export_kwh: float | Floats = 4.0

    def __post_init__(self) -> None:
        for name in ("import_kwh", "export_kwh"):
            if not np.all(np.asarray(getattr(self, name)) >= 0):
                raise InputError(f"connection.{name} = {getattr(self, name)}: must be 0 or more")

    def limits(self, hours: float = 0.5) -> tuple[Floats, Floats]:
        """Import and export limit of an interval of ``hours`` [kWh]."""
        scale = hours / 0.5
        return np.asarray(self.import_kwh) * scale, np.asarray(self.export_kwh) * scale

    def among(self, which: Ints | Mask | slice) -> "ConnectionSpec":
        """The limits of some of the households they were given for."""
        return ConnectionSpec(
            *(
                value if np.ndim(value) == 0 else np.asarray(value)[which]
                for value in (self.import_kwh, self.export_kwh)
            )
        )

    @staticmethod
    def together(specs: "Sequence[ConnectionSpec]") -> "ConnectionSpec":
        """One for several households with scalar limits, (H,) where they differ."""
        columns = [[float(getattr(s, n)) for s in specs] for n in ("import_kwh", "export_kwh")]
        return ConnectionSpec(*(c[0] if len(set(c)) == 1 else np.array(c) for c in columns))


class Flows(NamedTuple):
    """Energy of one interval [kWh], (H,) each, all >= 0."""

    grid_import: Floats
    grid_export: Floats
    curtailed: Floats
    unserved: Floats

    def meter(self, bought: Floats, sold: Floats) -> tuple[Floats, Floats]:
        """Import and export as the meter at the connection sees them: net, P2P included."""
        net = self.grid_import + bought - self.grid_export - sold
        return np.maximum(net, 0.0), np.maximum(-net, 0.0)


def flows(
    load: Floats,
    pv: Floats,
    charge: Floats,
    discharge: Floats,
    bought: Floats,
    sold: Floats,
    connection: ConnectionSpec,
    hours: float = 0.5,
) -> Flows:
    """Let the grid take the residual; all arguments (H,) kWh >= 0.

    The net balance holds to rounding:
    ``load - unserved + charge + sold = pv - curtailed + discharge + bought + import - export``.
    Surplus beyond the export limit is curtailed from PV. A deficit beyond the import limit is
    unserved load. A battery that discharges against a full export connection, or charges
    against a full import connection, is the caller's mistake: ``room`` tells what is left.
    """
    import_limit, export_limit = connection.limits(hours)
    residual = load - pv + charge - discharge - bought + sold
    deficit, surplus = np.maximum(residual, 0.0), np.maximum(-residual, 0.0)
    grid_import = np.minimum(deficit, np.maximum(import_limit - bought, 0.0))
    grid_export = np.minimum(surplus, np.maximum(export_limit - sold, 0.0))
    return Flows(grid_import, grid_export, surplus - grid_export, deficit - grid_import)


def room(
    net_load: Floats, bought: Floats, sold: Floats, connection: ConnectionSpec, hours: float = 0.5
) -> tuple[Floats, Floats]:
    """Range (low, high) of battery action that the connection permits [kWh, charging positive].

    Below ``low`` the discharge could not leave the house, above ``high`` the charge could not
    enter it. ``net_load`` is load - pv (H,). Where load alone exceeds the import limit ``high``
    is negative: the battery has to help. Where PV alone exceeds the export limit ``low`` is
    positive: the battery takes what it can and the rest is curtailed.
    """
    import_limit, export_limit = connection.limits(hours)
    base = net_load - bought + sold
    low = -np.maximum(export_limit - sold, 0.0) - base
    high = np.maximum(import_limit - bought, 0.0) - base
    return low, high
