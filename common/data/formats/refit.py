"""REFIT house files and UK-DALE house folders: power in W at irregular instants, Unix time.

A power holds until the next sample, at most ``HOLD_S``; what lies beyond is a gap.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from common.arrays import Floats, Ints
from common.data.formats.table import header, parts
from common.data.frame import APPLIANCES
from common.data.readings import Batch, Options, household_name
from common.errors import InputError

HOLD_S = 120
_LABELS = {
    "fridge": ("fridge", "freezer"),
    "washing_machine": ("washing", "washer_dryer", "tumble", "dryer"),
    "dishwasher": ("dishwasher",),
    "stove": ("oven", "hob", "cooker", "stove"),
    "water_heater": ("immersion", "water_heater", "shower"),
    "computers": ("computer", "laptop", "monitor", "router", "office"),
    "ac": ("air_con", "heat_pump"),
    "ev_charging": ("electric_vehicle", "car_charger"),
}


class Held:
    """Power samples into energy: each sample lasts until the next one of the same meter."""

    def __init__(self) -> None:
        self._time: Ints = np.empty(0, dtype=np.int64)
        self._watt: Floats = np.empty(0)
        self._row: Ints = np.empty(0, dtype=np.int64)

    def add(self, time: Ints, watt: Floats, row: Ints) -> tuple[Ints, Ints, Floats, Ints]:
        """Return start, seconds, kWh and row of every sample whose successor is known."""
        time = np.concatenate([self._time, time])
        watt = np.concatenate([self._watt, watt])
        row = np.concatenate([self._row, row])
        self._time, self._watt, self._row = time[-1:], watt[-1:], row[-1:]
        seconds = np.minimum(np.diff(time), HOLD_S)
        # A repeated second says nothing; going back in time is for the order check to name.
        keep = seconds != 0
        seconds = np.maximum(seconds, 1)[keep]
        return time[:-1][keep], seconds, watt[:-1][keep] * seconds / 3.6e6, row[:-1][keep]


class Refit:
    """CLEAN_HouseN.csv; ``--map Appliance1=fridge`` says which appliance is which."""

    name = "refit"
    title = "REFIT house CSV"
    zone = "Europe/London"
    clock = None
    reads: frozenset[str] = frozenset({"name", "roles"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """Time, Unix and Aggregate come first."""
        return head.startswith("Time,Unix,Aggregate")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield the aggregate and every mapped appliance."""
        for path in paths:
            name = options.name or household_name(path, options).removeprefix("CLEAN_")
            found = header(path, ",")
            roles = {"Aggregate": "consumption", **_mapped(options, found, path)}
            meters = {column: Held() for column in roles}
            for part in parts(path, ("Unix", *roles), optional=("Issues",)):
                time = part.numbers("Unix")
                if np.isnan(time).any():
                    at = int(np.argmax(np.isnan(time)))
                    raise InputError(f"{path}: row {part.first_row + at}: Unix is empty")
                bad = part.numbers("Issues") == 1 if "Issues" in part.columns else False
                for column, channel in roles.items():
                    watt = np.where(bad, np.nan, part.numbers(column))
                    held = meters[column].add(time.astype(np.int64), watt, part.row)
                    yield Batch(name, channel, *held, path)


def _mapped(options: Options, found: Sequence[str], path: Path) -> dict[str, str]:
    for column, role in options.roles.items():
        if column not in found:
            raise InputError(f"{path}: --map {column}={role}: no such column")
        if role not in APPLIANCES:
            raise InputError(f"--map {column}={role}: known: {', '.join(APPLIANCES)}")
    if len(set(options.roles.values())) < len(options.roles):
        raise InputError("--map: each appliance can be named once")
    return dict(options.roles)


class UkDale:
    """A folder house_N: labels.dat and channel_N.dat; channel 1 is the whole home."""

    name = "ukdale"
    title = "UK-DALE house folder"
    zone = "Europe/London"
    clock = None
    reads: frozenset[str] = frozenset({"name"})
    folders = True

    def recognises(self, path: Path, head: str) -> bool:
        """A folder with labels and channels."""
        return path.is_dir() and (path / "labels.dat").is_file()

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield the aggregate and every channel whose label names one of the nine appliances.

        Several channels of one appliance are summed where they can be: the first keeps its name,
        the others stay in ``misc`` as part of the aggregate.
        """
        for folder in paths:
            name = household_name(folder, options)
            for file, channel in _channels(folder):
                meter = Held()
                for part in parts(file, ("time", "watt"), separator=" ", names=("time", "watt")):
                    time = part.numbers("time")
                    held = meter.add(time.astype(np.int64), part.numbers("watt"), part.row)
                    yield Batch(name, channel, *held, file)


def _channels(folder: Path) -> Iterator[tuple[Path, str]]:
    labels = folder / "labels.dat"
    try:
        lines = labels.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{labels}: cannot be read: {error}") from None
    taken = set()
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        number, _, label = line.strip().partition(" ")
        if not number.isdigit() or not label:
            raise InputError(f"{labels}: row {row}: expected 'number label', got {line!r}")
        role = "consumption" if label == "aggregate" else None
        for appliance, words in _LABELS.items():
            if role is None and any(word in label for word in words):
                role = appliance
        if role is not None and role not in taken:
            taken.add(role)
            yield folder / f"channel_{number}.dat", role
    if "consumption" not in taken:
        raise InputError(f"{labels}: no channel is labelled 'aggregate'")
