"""Low Carbon London (UK Power Networks): half-hourly kWh, stamps in UTC all year.

The original files ("KWH/hh (per half hour) ", with the trailing blank, optionally with ACORN
groups), the re-packed blocks ("energy(kWh/hh)") and the day-wide blocks ("hh_0" to "hh_47").
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.data.formats.table import Part, header, joined, parts
from common.data.frame import DAY
from common.data.readings import Batch, Options
from common.errors import InputError

_HALF_HOUR = 1800
_STAMP_AND_VALUE = (("DateTime", "KWH/hh (per half hour) "), ("tstp", "energy(kWh/hh)"))
_DAY_COLUMNS = tuple(f"hh_{i}" for i in range(DAY))


class LowCarbonLondon:
    """Both layouts of the Low Carbon London trial."""

    name = "lcl"
    title = "Low Carbon London, original or re-packed CSV"
    zone = "Europe/London"
    clock = "UTC"
    reads: frozenset[str] = frozenset()
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """Every layout begins with the household's LCLid."""
        return head.startswith("LCLid")

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield one batch per household and block of the file."""
        for path in paths:
            found = header(path, ",")
            if "hh_0" in found:
                yield from _days(path)
                continue
            stamp, value = next(_pairs(found), (None, None))
            if stamp is None or value is None:
                names = ", ".join(repr(v.strip()) for _, v in _STAMP_AND_VALUE)
                raise InputError(
                    f"{path}: no energy column of Low Carbon London in the header: {names} or hh_0 "
                    "to hh_47"
                )
            for part in joined(parts(path, ("LCLid", stamp, value)), "LCLid"):
                start, _ = part.times(stamp)
                yield from by_household(part, "LCLid", start, part.numbers(value))


def _pairs(found: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield stamp and value as the header spells them: blanks around a name do not count."""
    bare = {name.strip(): name for name in found}
    for stamp, value in _STAMP_AND_VALUE:
        if stamp in bare and value.strip() in bare:
            yield bare[stamp], bare[value.strip()]


def _days(path: Path) -> Iterator[Batch]:
    for part in parts(path, ("LCLid", "day", *_DAY_COLUMNS)):
        midnight, _ = part.times("day", "%Y-%m-%d")
        slots = np.arange(DAY, dtype=np.int64) * _HALF_HOUR
        value = np.column_stack([part.numbers(column) for column in _DAY_COLUMNS])
        for batch in by_household(part, "LCLid", midnight, np.zeros(len(part))):
            rows = batch.row - part.first_row
            yield Batch(
                batch.household,
                "consumption",
                (midnight[rows][:, None] + slots).reshape(-1),
                np.full(len(rows) * DAY, _HALF_HOUR, dtype=np.int64),
                value[rows].reshape(-1),
                np.repeat(batch.row, DAY),
                path,
            )


def by_household(
    part: Part,
    column: str,
    start: NDArray[np.int64],
    value: NDArray[np.float64],
    *,
    channel: str = "consumption",
    seconds: int = _HALF_HOUR,
) -> Iterator[Batch]:
    """Split a block by the household named in ``column``; the order of rows stays."""
    names = part.text(column)
    coded = pa.array(names).dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    lines = part.row
    for rows in np.split(order, cuts):
        yield Batch(
            str(coded.dictionary[int(codes[rows[0]])]),
            channel,
            start[rows],
            np.full(len(rows), seconds, dtype=np.int64),
            value[rows],
            lines[rows],
            part.path,
        )
