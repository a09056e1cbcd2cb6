"""The household battery: pure functions of arrays, energy in kWh, state of charge as a fraction.

Energy is measured at the terminals (AC). Charging ``a`` kWh stores ``a * eta``; delivering ``a``
kWh takes ``a / eta`` from the store, with ``eta = sqrt(round_trip_efficiency)`` on each side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from common.arrays import Floats, Ints, Mask
from common.errors import InputError


@dataclass(frozen=True)
class BatterySpec:
    """What a battery can do. Every field is a scalar, or (H,) with one value per household.

    capacity_kwh: nominal store; power_kw: limit both ways at the terminals; soc_min, soc_max:
    bounds of the state of charge; wear_cost_per_kwh: currency per kWh through the terminals that
    the trader charges itself (bills do not contain it).
    """

    capacity_kwh: float | Floats = 13.5
    round_trip_efficiency: float | Floats = 0.9
    power_kw: float | Floats = 5.0
    soc_min: float | Floats = 0.10
    soc_max: float | Floats = 0.80
    soc_initial: float | Floats = 0.45
    wear_cost_per_kwh: float | Floats = 0.0

    def __post_init__(self) -> None:
        for name in ("capacity_kwh", "power_kw", "soc_min", "wear_cost_per_kwh"):
            value = np.asarray(getattr(self, name))
            if not np.all(value >= 0):
                raise InputError(f"battery.{name} = {getattr(self, name)}: must be 0 or more")
        efficiency = np.asarray(self.round_trip_efficiency)
        if not np.all((efficiency > 0) & (efficiency <= 1)):
            raise InputError(
                f"battery.round_trip_efficiency = {self.round_trip_efficiency}: must be in (0, 1]"
            )
        low, start, high = (
            np.asarray(getattr(self, name)) for name in ("soc_min", "soc_initial", "soc_max")
        )
        if not (np.all(low <= start) and np.all(start <= high) and np.all(high <= 1)):
            raise InputError("battery: soc_min <= soc_initial <= soc_max <= 1 does not hold")

    @property
    def eta(self) -> Floats:
        """One-way efficiency."""
        return np.sqrt(np.asarray(self.round_trip_efficiency, dtype=np.float64))

    def per_household(self, households: int) -> "BatterySpec":
        """The same spec with every field as an (H,) array."""
        return BatterySpec(
            **{
                name: np.ascontiguousarray(
                    np.broadcast_to(np.asarray(getattr(self, name), dtype=np.float64), households)
                )
                for name in self.__dataclass_fields__
            }
        )

    def among(self, which: Ints | Mask | slice) -> "BatterySpec":
        """The spec of some of the households it was given for."""
        return BatterySpec(
            **{
                name: value if np.ndim(value) == 0 else np.asarray(value)[which]
                for name in self.__dataclass_fields__
                if (value := getattr(self, name)) is not None
            }
        )

    @staticmethod
    def together(specs: "Sequence[BatterySpec]") -> "BatterySpec":
        """One spec for several households with scalar ones, (H,) where they differ."""
        return BatterySpec(
            **{
                name: values[0] if len(set(values)) == 1 else np.array(values)
                for name in BatterySpec.__dataclass_fields__
                if (values := [float(getattr(spec, name)) for spec in specs])
            }
        )


class BatteryStep(NamedTuple):
    """What a step did, (H,) each: kWh at the terminals, and the part of the request clipped."""

    soc: Floats
    charge_kwh: Floats
    discharge_kwh: Floats
    clipped_kwh: Floats


def ac_limits(spec: BatterySpec, soc: Floats, hours: float = 0.5) -> tuple[Floats, Floats]:
    """Most that can be discharged and charged in ``hours`` [kWh at the terminals, both >= 0]."""
    power = np.asarray(spec.power_kw) * hours
    stored = np.asarray(soc) * spec.capacity_kwh
    down = np.maximum(stored - np.asarray(spec.soc_min) * spec.capacity_kwh, 0.0) * spec.eta
    up = np.maximum(np.asarray(spec.soc_max) * spec.capacity_kwh - stored, 0.0) / spec.eta
    return np.minimum(power, down), np.minimum(power, up)


def step(spec: BatterySpec, soc: Floats, ac_kwh: Floats, hours: float = 0.5) -> BatteryStep:
    """Move the battery by ``ac_kwh`` (charging positive) in one interval of ``hours``.

    A request beyond power or state of charge is clipped; ``clipped_kwh`` is what was asked for
    and not done, with the sign of the request, so that request = charge - discharge + clipped.
    A state of charge that starts outside its bounds may return into them but not go further out.
    """
    down, up = ac_limits(spec, soc, hours)
    request = np.asarray(ac_kwh, dtype=np.float64)
    done = np.clip(request, -down, up)
    charge, discharge = np.maximum(done, 0.0), np.maximum(-done, 0.0)
    capacity = np.asarray(spec.capacity_kwh, dtype=np.float64)
    moved = charge * spec.eta - discharge / spec.eta
    fraction = np.divide(moved, capacity, out=np.zeros(np.shape(moved)), where=capacity > 0)
    after = np.asarray(soc, dtype=np.float64) + fraction
    # Rounding must not carry the state past a bound that the step has just reached.
    low, high = np.minimum(spec.soc_min, soc), np.maximum(spec.soc_max, soc)
    return BatteryStep(np.clip(after, low, high), charge, discharge, request - done)
