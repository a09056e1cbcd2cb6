"""UCI individual household electric power consumption: one home near Paris, every minute.

The stamps run on without a jump: every minute of four years is there once, which no clock of
Paris shows. They are read as those of UTC+1 (``--clock`` names another).
Kitchen, laundry and water heater with air conditioning are sub-metered; they go to ``stove``,
``washing_machine`` and ``water_heater``, the rest of the home to ``misc``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from common.data.formats.table import parts
from common.data.readings import Batch, Options, household_name, one_home_a_file

_POWER = "Global_active_power"
_SUBMETERS = {
    "stove": "Sub_metering_1",
    "washing_machine": "Sub_metering_2",
    "water_heater": "Sub_metering_3",
}


class Uci:
    """Semicolons, day-first dates, '?' for a missing value; kW and Wh per minute."""

    name = "uci"
    title = "UCI individual household power"
    zone = "Europe/Paris"
    clock = "+01:00"
    reads: frozenset[str] = frozenset({"clock", "name", "each"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The header is unmistakable."""
        return head.startswith("Date;Time;Global_active_power")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield the whole home and three sub-meters."""
        one_home_a_file(paths, options)
        for path in paths:
            name = household_name(path, options)
            needs = ("Date", "Time", _POWER, *_SUBMETERS.values())
            for part in parts(path, needs, separator=";"):
                joined = pc.binary_join_element_wise(part.text("Date"), part.text("Time"), " ")
                part.columns["Date and Time"] = joined
                start, _ = part.times("Date and Time", "%d/%m/%Y %H:%M:%S")
                minute = np.full(len(part), 60, dtype=np.int64)
                values = {"consumption": part.numbers(_POWER) / 60.0}
                values |= {c: part.numbers(s) / 1000.0 for c, s in _SUBMETERS.items()}
                for channel, kwh in values.items():
                    yield Batch(name, channel, start, minute, kwh, part.row, path, wall_clock=True)
