"""Ausgrid Solar Home: a row per customer, category and local day, 48 values labelled by their END.

Categories: GC general load, CL controlled load (off-peak hot water), GG gross PV generation.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from common.arrays import Ints
from common.data.formats.lcl import by_household
from common.data.formats.table import Part, header, parts
from common.data.frame import DAY
from common.data.readings import Batch, Options
from common.errors import InputError

_CHANNEL = {"GC": "misc", "CL": "water_heater", "GG": "pv"}
_ENDS = (*(f"{i // 2}:{30 * (i % 2):02d}" for i in range(1, DAY)), "0:00")
_KEYS = ("Customer", "Consumption Category", "date")
_DATES = ("%d/%m/%Y", "%d-%b-%y", "%d-%b-%Y", "%d/%m/%y")


class Ausgrid:
    """The yearly files of 300 homes."""

    name = "ausgrid"
    title = "Ausgrid Solar Home CSV"
    zone = "Australia/Sydney"
    clock = None
    reads: frozenset[str] = frozenset({"clock"})
    folders = False

    def recognises(self, path: Path, head: str) -> bool:
        """The header follows a line or two of free text."""
        return any(line.startswith("Customer,Generator") for line in head.splitlines()[:5])

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield a batch per customer, category and block."""
        for path in paths:
            skip = _notice_lines(path)
            needs = (*_KEYS, *_ENDS)
            for part in parts(path, needs, skip=skip, optional=("Row Quality",)):
                yield from _rows(part)


def _notice_lines(path: Path) -> int:
    for skip in range(5):
        if header(path, ",", skip)[0] == "Customer":
            return skip
    raise InputError(f"{path}: no line begins with 'Customer,' (wrong separator?)")


def _dates(part: Part) -> Ints:
    for fmt in _DATES[1:]:
        try:
            return part.times("date", fmt)[0]
        except InputError:
            continue
    midnight = part.times("date", _DATES[0])[0]
    if goes_by_month(part, midnight):
        raise InputError(
            f"{part.path}: row {part.first_row}: date = {part.text('date')[0].as_py()!r}: the "
            "dates seem to go by month, as in 12/31/2012: save them as 31/12/2012"
        )
    return midnight


def goes_by_month(part: Part, midnight: Ints) -> bool:
    """Whether dates read day first lie a month apart, and month first a day."""
    try:
        other = part.times("date", "%m/%d/%Y")[0]
    except InputError:
        return False
    step = np.abs(np.diff(np.unique(midnight)))
    other_step = np.abs(np.diff(np.unique(other)))
    day = 86400
    return bool(len(step) and np.median(step) > 20 * day and np.median(other_step) == day)


def _rows(part: Part) -> Iterator[Batch]:
    midnight = _dates(part)
    value = np.column_stack([part.numbers(column) for column in _ENDS])
    category = np.asarray(part.text("Consumption Category").to_pylist())
    unknown = ~np.isin(category, list(_CHANNEL))
    if unknown.any():
        at = int(np.argmax(unknown))
        raise InputError(
            f"{part.path}: row {part.first_row + at}: Consumption Category = {category[at]!r}"
        )
    estimated = np.zeros(len(part), dtype=np.bool_)
    if "Row Quality" in part.columns:
        estimated = pc.equal(part.text("Row Quality"), "NA").to_numpy(zero_copy_only=False)
    # The value labelled 0:30 began at 0:00, the one labelled 0:00 at 23:30.
    begins = np.arange(DAY, dtype=np.int64) * 1800
    for batch in by_household(part, "Customer", midnight, np.zeros(len(part))):
        for code, channel in _CHANNEL.items():
            rows = batch.row - part.first_row
            rows = rows[category[rows] == code]
            if rows.size == 0:
                continue
            customer = batch.household
            yield Batch(
                f"C{int(customer):03d}" if customer.isdigit() else customer,
                channel,
                (midnight[rows][:, None] + begins).reshape(-1),
                np.full(rows.size * DAY, 1800, dtype=np.int64),
                value[rows].reshape(-1),
                np.repeat(part.row[rows], DAY),
                part.path,
                np.repeat(estimated[rows], DAY),
                wall_clock=True,
            )
