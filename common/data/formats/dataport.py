"""Pecan Street Dataport: mean kW per circuit and interval, local stamps with a two-digit offset.

``grid`` is the net import: the home draws grid + solar. An empty circuit is one the home lacks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.arrays import Floats
from common.data.formats.lcl import by_household
from common.data.formats.table import Part, header, joined, parts
from common.data.readings import Batch, Options
from common.errors import InputError

_STAMPS = {"local_15min": 900, "localminute": 60, "local_1min": 60, "localhour": 3600}
_CIRCUITS = {
    "fridge": ("refrigerator1", "refrigerator2", "freezer1"),
    "washing_machine": ("clotheswasher1", "clotheswasher_dryg1", "drye1", "dryg1"),
    "dishwasher": ("dishwasher1",),
    "ev_charging": ("car1", "car2"),
    "ac": ("air1", "air2", "air3", "airwindowunit1", "furnace1", "furnace2"),
    "stove": ("range1", "oven1", "oven2", "microwave1"),
    "water_heater": ("waterheater1", "waterheater2"),
    "computers": ("office1",),
}
_CITIES = {
    "austin": "America/Chicago",
    "newyork": "America/New_York",
    "california": "America/Los_Angeles",
}


class Dataport:
    """One, fifteen or sixty minute exports."""

    name = "dataport"
    title = "Pecan Street Dataport CSV"
    zone = "America/Chicago"
    clock = None
    reads: frozenset[str] = frozenset()
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The first column is dataid, the second a local stamp."""
        return head.startswith("dataid,local")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield the grid meter, PV and eight appliances of each home and block."""
        for path in paths:
            found = header(path, ",")
            stamp = next((name for name in _STAMPS if name in found), None)
            if stamp is None:
                raise InputError(f"{path}: no column {' or '.join(_STAMPS)} in the header")
            if "grid" not in found and "use" not in found:
                raise InputError(f"{path}: neither 'grid' nor 'use' in the header")
            needs = ("dataid", stamp, "grid" if "grid" in found else "use")
            circuits = tuple(c for names in _CIRCUITS.values() for c in names)
            optional = (*circuits, "solar", "solar2", "gen", "battery1")
            for part in joined(parts(path, needs, optional=optional), "dataid"):
                yield from _batches(part, stamp)


def _sum(part: Part, names: Sequence[str], metered: np.ndarray) -> Floats:
    """(n,) kW of the circuits that exist; NaN where the meter itself has no value."""
    total = np.where(metered, 0.0, np.nan)
    for name in names:
        if name in part.columns:
            total += np.nan_to_num(part.numbers(name))
    return total


def _batches(part: Part, stamp: str) -> Iterator[Batch]:
    start, zoned = part.times(stamp)
    if not zoned:
        raise InputError(f"{part.path}: row {part.first_row}: {stamp} carries no offset")
    seconds = _STAMPS[stamp]
    net = part.numbers("grid" if "grid" in part.columns else "use")
    metered = ~np.isnan(net)
    # Inverters draw a little at night: that is consumption, not negative generation.
    solar = np.clip(_sum(part, ("solar", "solar2", "gen"), metered), 0.0, None)
    channels: dict[str, Floats] = {
        name: np.clip(_sum(part, circuits, metered), 0.0, None)
        for name, circuits in _CIRCUITS.items()
        if any(circuit in part.columns for circuit in circuits)
    }
    if "grid" in part.columns:
        channels["import"] = np.clip(net, 0.0, None)
        channels["export"] = np.clip(-net, 0.0, None)
        if "battery1" in part.columns:  # positive: the battery delivers
            power = _sum(part, ("battery1",), metered)
            channels["discharge"] = np.clip(power, 0.0, None)
            channels["charge"] = np.clip(-power, 0.0, None)
    else:
        channels["consumption"] = net
    if any(name in part.columns for name in ("solar", "solar2", "gen")):
        channels["pv"] = solar
    for channel, kw in channels.items():
        yield from by_household(
            part, "dataid", start, kw * (seconds / 3600.0), channel=channel, seconds=seconds
        )


def zone_of(path: Path) -> str | None:
    """Return the zone of the city in an export's file name."""
    return next((zone for city, zone in _CITIES.items() if city in path.name.lower()), None)
