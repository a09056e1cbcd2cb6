"""What an adapter yields: batches of readings, each with its file and row for messages.

A reading covers ``[start, start + seconds)``. Energy channels hold kWh over that time, level
channels (temperature, irradiance, prices) the mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from common.arrays import Floats, Ints, Mask
from common.data.frame import APPLIANCES
from common.errors import InputError

LEVELS = ("temperature", "solar_irradiance", "price", "export_price")
# consumption: the whole home; import, export: the grid meter; charge, discharge: a home battery.
FLOWS = ("consumption", "import", "export", "charge", "discharge", "pv")
CHANNELS = (*APPLIANCES, *FLOWS, *LEVELS)


class Kind(IntEnum):
    """What the value of a reading is."""

    ENERGY = 0  # kWh over its time; of a level channel: the mean
    MEAN_POWER = 1  # kW, the mean over its time
    REGISTER = 2  # kWh counted since some beginning, at an instant
    POWER = 3  # kW at an instant, held until the next


@dataclass(frozen=True)
class Batch:
    """Readings of one household and channel, in the order of the file.

    ``start``: (n,) seconds since 1970, in UTC, or as the clock of the stamps shows them where
    ``wall_clock`` is set. ``seconds``: (n,) length; 0 where it follows from the distance of
    readings; of a power at an instant the longest time it holds. ``value``: (n,) in the unit of
    ``kind``; NaN where the file says there is none. ``row``: (n,) line numbers.
    ``estimated``: (n,) True where the file itself calls the value an estimate; None: nowhere.
    ``ends``: the stamps are the ends of the readings, not their starts.
    ``series``: which of several meters of this channel; they are put in order one by one and then
    add up. ``takes_turns``: of these series one counts while the others have no readings, as day
    and night registers that are listed only while they run.
    """

    household: str
    channel: str
    start: Ints
    seconds: Ints
    value: Floats
    row: Ints
    path: Path
    estimated: Mask | None = None
    wall_clock: bool = False
    kind: Kind = Kind.ENERGY
    ends: bool = False
    series: str = ""
    takes_turns: bool = False


@dataclass(frozen=True)
class Options:
    """What the user says about files that do not say it themselves.

    Every format names in ``reads`` which of these it makes use of; another one is an error.
    ``timezone``: of the home, its calendar. ``clock``: of the stamps without offset: a zone, or a
    fixed offset such as +10:00.
    """

    timezone: str | None = None
    clock: str | None = None
    name: str | None = None
    each: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    first_day: date | None = None
    allow_resets: bool = False
    wide: bool = False
    mapping: object | None = None


# What the options are called where a person writes them.
FLAGS = {
    "clock": "--clock",
    "name": "--name",
    "each": "--each",
    "roles": "--map",
    "unit": "--unit",
    "first_day": "--first-day",
    "allow_resets": "--allow-resets",
    "wide": "--wide",
    "mapping": "--mapping or an option of tables",
}


class Format(Protocol):
    """One file format."""

    @property
    def name(self) -> str:
        """What ``--format`` calls it."""

    @property
    def title(self) -> str:
        """What messages call it."""

    @property
    def zone(self) -> str | None:
        """Zone of the homes when neither the user nor the file names one; None: not known."""

    @property
    def clock(self) -> str | None:
        """Clock of stamps without offset, where the format fixes it; None: the homes' zone."""

    @property
    def reads(self) -> frozenset[str]:
        """Fields of Options that the format makes use of, ``timezone`` aside."""

    @property
    def folders(self) -> bool:
        """Whether it is read from folders, not from files."""

    def recognises(self, path: Path, head: str) -> bool:
        """Whether the first kilobytes of a file look like this format."""

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield batches without ever holding a whole file. Raises InputError with file and row."""


def one_home_a_file(paths: Sequence[Path], options: Options) -> None:
    """Refuse several files that name no household, unless the user says whose they are."""
    if len(paths) < 2 or options.name:
        return
    if not options.each:
        raise InputError(
            f"{paths[1]}: {len(paths)} files that name no household: '--name NAME' joins them as "
            "one home, '--each' makes each a home called as its file"
        )
    names: dict[str, Path] = {}
    for path in paths:
        name = household_name(path, options)
        if name in names:
            raise InputError(
                f"{path}: would be household {name}, as {names[name]} is: rename one of the files, "
                "or import each by itself with --name"
            )
        names[name] = path


def household_name(path: Path, options: Options) -> str:
    """Return the user's name for the household or the file's, made fit for a name."""
    if options.name:
        return options.name
    stem = path.name.split(".")[0]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem)
    return kept.lstrip("_-")[:64] or "home"
