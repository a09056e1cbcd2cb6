"""Readings of many households, sorted by household on disk, in bounded memory.

Files come in any order; a household is put together when all files have been read. Each
household's readings are appended to a file of its own, whenever the buffer is full.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.data.frame import MAX_INTERVAL_KWH, check_name
from common.data.readings import CHANNELS, LEVELS, Batch, Kind
from common.data.resample import HALF_HOUR_S
from common.errors import InputError

READING = np.dtype(
    [
        ("start", "<i8"),
        ("value", "<f8"),
        ("seconds", "<i4"),
        ("row", "<i4"),
        ("file", "<i2"),
        ("series", "<i2"),
        ("channel", "i1"),
        ("flags", "u1"),
    ]
)
ESTIMATED, WALL_CLOCK, ENDS, TAKES_TURNS = 1, 2, 4, 8
_KIND_SHIFT = 4
_BUFFER_BYTES = 64 << 20


def kind_of(flags: int) -> Kind:
    """Return what the values of a reading with these flags are."""
    return Kind(flags >> _KIND_SHIFT)


class Spool:
    """Append batches, then read the readings household by household.

    ``paths`` and ``series`` say what the numbers in the fields ``file`` and ``series`` mean;
    ``channels`` are those that have readings.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buffers: dict[str, list[NDArray[np.void]]] = {}
        self._held = 0
        self._on_disk: set[str] = set()
        self.paths: list[Path] = []
        self.series: list[str] = []
        self.channels: set[str] = set()

    def add(self, batch: Batch) -> None:
        """Check a batch's values and keep its readings. Raises InputError with file and row."""
        present = ~np.isnan(batch.value)
        if batch.channel not in LEVELS and batch.kind in (Kind.ENERGY, Kind.MEAN_POWER):
            _check(batch, present)
        if batch.kind == Kind.POWER:
            present[:] = True  # no value ends the one before
        if not present.any():
            return
        records = np.empty(int(present.sum()), dtype=READING)
        for name in ("start", "seconds", "value", "row"):
            records[name] = getattr(batch, name)[present]
        if not self.paths or self.paths[-1] != batch.path:
            self.paths.append(batch.path)
        records["file"] = len(self.paths) - 1
        records["channel"] = CHANNELS.index(batch.channel)
        self.channels.add(batch.channel)
        records["series"] = self._series(batch.series)
        records["flags"] = (
            (batch.kind << _KIND_SHIFT)
            | (WALL_CLOCK if batch.wall_clock else 0)
            | (ENDS if batch.ends else 0)
            | (TAKES_TURNS if batch.takes_turns else 0)
        )
        if batch.estimated is not None:
            records["flags"] |= np.where(batch.estimated[present], ESTIMATED, 0).astype(np.uint8)
        if batch.household not in self._buffers and batch.household not in self._on_disk:
            try:
                check_name(batch.household)
            except InputError as error:
                where = f"{batch.path}: row {batch.row[present][0]}"
                raise InputError(f"{where}: {error}: rename it in the file") from None
        self._buffers.setdefault(batch.household, []).append(records)
        self._held += records.nbytes
        if self._held > _BUFFER_BYTES:
            self._flush()

    def _series(self, name: str) -> int:
        if name not in self.series:
            self.series.append(name)
        return self.series.index(name)

    def _flush(self) -> None:
        for name, pieces in self._buffers.items():
            with (self._folder / f"{name}.readings").open("ab") as stream:
                for piece in pieces:
                    stream.write(piece.tobytes())
            self._on_disk.add(name)
        self._buffers.clear()
        self._held = 0

    def names(self) -> list[str]:
        """Return the households, sorted."""
        return sorted(self._on_disk | set(self._buffers))

    def readings(self, name: str) -> NDArray[np.void]:
        """Return (n,) records of dtype READING, in the order in which they were added."""
        path = self._folder / f"{name}.readings"
        pieces = [np.fromfile(path, dtype=READING)] if name in self._on_disk else []
        return np.concatenate([*pieces, *self._buffers.get(name, [])])

    def drop(self, name: str) -> None:
        """Forget a household that has been put together."""
        self._buffers.pop(name, None)
        (self._folder / f"{name}.readings").unlink(missing_ok=True)

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.void]]]:
        for name in self.names():
            yield name, self.readings(name)
            self.drop(name)


def _check(batch: Batch, present: NDArray[np.bool_]) -> None:
    length = np.where(batch.seconds > 0, batch.seconds, HALF_HOUR_S)
    most = MAX_INTERVAL_KWH * np.maximum(length / HALF_HOUR_S, 1.0)
    if batch.kind == Kind.MEAN_POWER:
        most = np.full(len(length), MAX_INTERVAL_KWH * 3600 / HALF_HOUR_S)
    wrong = present & ~((batch.value >= 0.0) & (batch.value <= most))
    if wrong.any():
        at = int(np.argmax(wrong))
        value = batch.value[at]
        unit = "kW" if batch.kind == Kind.MEAN_POWER else "kWh"
        clock = "" if batch.wall_clock else " UTC"
        why = (
            "negative: what flows the other way is a reading of its own (export, discharge)"
            if value < 0
            else f"more than {most[at]:g} {unit} in one interval: another unit, or a register?"
        )
        when = pd.Timestamp(int(batch.start[at]), unit="s").isoformat()
        raise InputError(
            f"{batch.path}: row {batch.row[at]}: household {batch.household}: "
            f"{batch.channel} = {value:g} {unit}: {why}"
            f" ({batch.series + ', ' if batch.series else ''}{when}{clock})"
        )
