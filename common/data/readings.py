"""What an adapter yields: batches of readings, each with its file and row for messages.

A reading covers ``[start, start + seconds)``. Energy channels hold kWh over that time, level
channels (temperature, irradiance, price) the mean.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.arrays import Floats, Ints
from common.data.frame import APPLIANCES

LEVELS = ("temperature", "solar_irradiance", "price", "export_price")
# consumption: the whole home; import, export: the grid meter; charge, discharge: a home battery.
FLOWS = ("consumption", "import", "export", "charge", "discharge", "pv")
CHANNELS = (*APPLIANCES, *FLOWS, *LEVELS)


@dataclass(frozen=True)
class Batch:
    """Readings of one household and channel, in the order of the file.

    ``start``: (n,) seconds since 1970, in UTC, or as the household's wall clock shows them where
    ``wall_clock`` is set. ``seconds``: (n,) length; 0 where it follows from the distance of
    readings. ``value``: (n,) kWh or level; NaN where the file says there is none. ``row``: (n,)
    line numbers.
    ``estimated``: (n,) True where the file itself calls the value an estimate; None: nowhere.
    """

    household: str
    channel: str
    start: Ints
    seconds: Ints
    value: Floats
    row: Ints
    path: Path
    estimated: NDArray[np.bool_] | None = None
    wall_clock: bool = False


@dataclass(frozen=True)
class Options:
    """What the user says about files that do not say it themselves."""

    timezone: str | None = None
    name: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    first_day: date | None = None
    allow_resets: bool = False


class Format(Protocol):
    """One file format."""

    name: str
    title: str
    # Zone of the household when the user names none: of its calendar, and of stamps that follow
    # the wall clock.
    zone: str
    # The set is known to repeat rows: exact repetitions are dropped and counted.
    repeats: bool
    folders: bool

    def recognises(self, path: Path, head: str) -> bool:
        """Whether the first kilobytes of a file look like this format."""

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield batches without ever holding a whole file. Raises InputError with file and row."""


def household_name(path: Path, options: Options) -> str:
    """Return the user's name for the household or the file's, made fit for a name."""
    if options.name:
        return options.name
    stem = path.name.split(".")[0]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in stem)
    return kept.lstrip("_-")[:64] or "home"
