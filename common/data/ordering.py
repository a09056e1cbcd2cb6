"""One meter's readings in order: in UTC, sorted, each once, with their lengths, as energy.

The order of a file says nothing: readings are sorted, equal repetitions dropped and counted, and
readings that contradict each other refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Floats, Ints, Mask
from common.data.frame import COARSEST_MINUTES, MAX_INTERVAL_KWH
from common.data.readings import LEVELS, Kind
from common.data.registers import looks_like_a_register, steps_of
from common.data.resample import HALF_HOUR_S, to_utc
from common.data.spool import ENDS, ESTIMATED, TAKES_TURNS, WALL_CLOCK, kind_of
from common.errors import InputError

Records = NDArray[np.void]
COARSEST_S = COARSEST_MINUTES * 60
# A longer reading that holds no more than this says when it was used well enough: a register
# that rests, as that of the panels does every night.
RESTING_KWH = 0.05
# So many readings in a row at another distance are no gaps but another resolution.
_RUN = 8
_MARKS, _FAR = 2, 1.5  # a mark of what is missing: so many times, so far above the rest
_JITTER = 0.05  # of the usual distance
_GRIDS_S = (60, 120, 180, 240, 300, 360, 600, 720, 900, 1200, 1800, 3600, 7200, 14400, 86400)


@dataclass
class Account:
    """Where the energy of the files went, in kWh, and what was added, per channel."""

    file_kwh: dict[str, float] = field(default_factory=dict)
    kept_kwh: dict[str, float] = field(default_factory=dict)
    imported_kwh: dict[str, float] = field(default_factory=dict)
    # channel -> why energy of the file was not taken -> kWh
    left_out_kwh: dict[str, dict[str, float]] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)  # channel -> its columns
    missing_hour_kwh: float = 0.0
    missing_hour_first: str = ""
    single_hours: int = 0  # stamps of the hour that is repeated, found once
    repeated_rows: int = 0
    false_readings: int = 0
    resets: int = 0
    contradictions: int = 0  # half hours in which the flows give a negative consumption
    gap_share: float = 0.0
    filled_share: float = 0.0
    coarse_share: float = 0.0
    held_levels: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was assumed, one line each
    doubts: list[str] = field(default_factory=list)

    def doubt(self, line: str) -> None:
        """Note what may be wrong, once."""
        if line not in self.doubts:
            self.doubts.append(line)

    def leave_out(self, channel: str, why: str, kwh: float) -> None:
        """Book energy of the file that does not get into the household."""
        if kwh > 0 and channel not in LEVELS:
            reasons = self.left_out_kwh.setdefault(channel, {})
            reasons[why] = reasons.get(why, 0.0) + kwh


@dataclass(frozen=True)
class Source:
    """Whose readings these are and where they stand, for messages."""

    household: str
    paths: Sequence[Path]
    column: str = ""  # of the file; "" where the channel's name says it

    def place(self, records: Records, at: int) -> str:
        """Return file and row of a reading."""
        return f"{self.paths[int(records['file'][at])]}: row {int(records['row'][at])}"

    def what(self, channel: str) -> str:
        """Return what to call the channel."""
        return f"{channel} ({self.column})" if self.column else channel


@dataclass(frozen=True)
class Series:
    """One meter's readings in UTC, ordered, without repetition, in kWh (levels: means)."""

    start: Ints
    seconds: Ints
    value: Floats
    estimated: Mask
    takes_turns: bool = False
    regular: bool = True  # a known length each, not the distance of whatever came in

    @property
    def rests(self) -> Mask:
        """(n,) where nothing, or next to nothing, was counted: then the length is no matter."""
        return np.asarray(self.value <= (0.0 if self.regular else RESTING_KWH))

    @property
    def long(self) -> Mask:
        """(n,) readings that cannot tell one half hour from another."""
        return np.asarray((self.seconds > COARSEST_S) & ~self.rests)

    def coarse(self, row_s: int) -> Mask:
        """(n,) readings of up to an hour that cannot tell rows of ``row_s`` apart."""
        return np.asarray(
            (self.seconds > row_s) & (self.seconds <= COARSEST_S) & (self.regular | ~self.rests)
        )


def order(
    source: Source,
    channel: str,
    records: Records,
    *,
    clock: str,
    allow_resets: bool,
    account: Account,
    row_s: int = HALF_HOUR_S,
) -> Series | None:
    """Return the readings of one meter in order; None where nothing of it can be used.

    ``records``: dtype READING, of one channel and series, in file order. ``clock``: of stamps
    that carry no offset. ``row_s``: length of the rows they are meant for. Raises InputError
    that names file and row.
    """
    flags = int(records["flags"][0])
    kind = kind_of(flags)
    differ = (records["flags"] ^ flags) & ~np.uint8(ESTIMATED | WALL_CLOCK)
    if differ.any():
        raise InputError(
            f"{source.place(records, int(np.argmax(differ > 0)))}: household {source.household}: "
            f"{source.what(channel)} is read in another way than before: import these files apart"
        )
    records = _oldest_first(records)
    start = records["start"].astype(np.int64)
    energy = channel not in LEVELS and kind == Kind.ENERGY
    if energy:
        account.file_kwh[channel] = account.file_kwh.get(channel, 0.0) + float(
            records["value"].sum()
        )
    if (records["flags"] & WALL_CLOCK).any():
        start, records = _in_utc(start, records, clock, channel, energy, account)
    if flags & ENDS and len(start):
        start = start - _lengths_before(source, channel, start, records)
    start, records = _once(source, channel, start, records, energy, account)
    if not len(start):
        return None
    if kind != Kind.REGISTER and channel not in LEVELS:
        _refuse_marks(source, channel, records)
    if kind in (Kind.REGISTER, Kind.POWER):
        series = (
            _counted(source, channel, start, records, allow_resets, account)
            if kind == Kind.REGISTER
            else _held(source, channel, start, records, row_s)
        )
        if series is not None:
            account.file_kwh[channel] = account.file_kwh.get(channel, 0.0) + float(
                series.value.sum()
            )
        return series
    seconds = records["seconds"].astype(np.int64)
    if (seconds == 0).any():
        start, seconds = _lengths(source, channel, start, records, account)
    value = records["value"].astype(np.float64)
    if kind == Kind.MEAN_POWER and channel not in LEVELS:
        value = value * (seconds / 3600.0)
        account.file_kwh[channel] = account.file_kwh.get(channel, 0.0) + float(value.sum())
        _check_kwh(source, channel, records, seconds, value)
    if channel not in LEVELS and looks_like_a_register(start, value):
        raise InputError(
            f"{source.place(records, 0)}: household {source.household}: {source.what(channel)} "
            f"never falls ({value[0]:g} to {value[-1]:g}): the register of a meter, not energy per "
            "interval? --format table reads registers: --map 'COLUMN=ROLE:kWh:register'"
        )
    estimated = (records["flags"] & ESTIMATED) > 0
    keep = _finest(channel, start, seconds, value, account)
    return Series(
        start[keep], seconds[keep], value[keep], estimated[keep], bool(flags & TAKES_TURNS)
    )


def _refuse_marks(source: Source, channel: str, records: Records) -> None:
    """Name a value such as 9999 or 65535 that stands again and again far above all others.

    It marks that there is none; in which unit it was written is no matter.
    """
    value = records["value"]
    most = float(np.nanmax(value, initial=0.0))
    again = value == most
    below = float(np.nanmax(value[~again], initial=0.0))
    if most <= 0 or int(again.sum()) < _MARKS or most < _FAR * below or below == 0:
        return
    digits = f"{most:.9e}".partition("e")[0].replace(".", "").rstrip("0")
    if re.fullmatch(r"9{2,}|6553[45]|3276[78]|2147483647|4294967295", digits):
        raise InputError(
            f"{source.place(records, int(np.argmax(again)))}: household {source.household}: "
            f"{source.what(channel)} = {most:g}, as in {int(again.sum())} rows, and never more "
            f"than {below:g} elsewhere: a mark of what is missing? Empty these cells"
        )


def _oldest_first(records: Records) -> Records:
    """Turn around each file that lists the newest reading first."""
    if len(records) < 2:
        return records
    step = np.diff(records["start"])
    if not (step < 0).any():
        return records
    cuts = np.flatnonzero(np.diff(records["file"])) + 1
    pieces = []
    for piece in np.split(records, cuts):
        step = np.diff(piece["start"])
        newest_first = int((step < 0).sum()) > int((step > 0).sum())
        pieces.append(piece[::-1] if newest_first else piece)
    return np.concatenate(pieces)


def _in_utc(
    start: Ints, records: Records, clock: str, channel: str, energy: bool, account: Account
) -> tuple[Ints, Records]:
    utc, exists, ambiguous = to_utc(start, clock, records["file"].astype(np.int64))
    wall = (records["flags"] & WALL_CLOCK) > 0
    if not wall.all():
        utc, exists, ambiguous = np.where(wall, utc, start), exists | ~wall, ambiguous & wall
    if ambiguous.any():
        stamps, times = np.unique(start[ambiguous], return_counts=True)
        # At an end of the data one of the two hours may be missing by right.
        inner = (stamps - 7200 > start.min()) & (stamps + 7200 < start.max())
        account.single_hours += int((times[inner] == 1).sum())
        if int((np.diff(start) < 0).sum()) > 8 * len(np.unique(records["file"])):
            account.doubt(
                "the rows stand in no order: of the hour that the clock shows twice, the first row "
                "was taken for the earlier"
            )
    if exists.all():
        return utc, records
    lost = records["value"][~exists]
    if channel not in LEVELS and np.abs(lost).sum() > 0:
        first = int(np.argmax(~exists & (records["value"] != 0)))
        stamp = pd.Timestamp(int(start[first]), unit="s")
        account.missing_hour_first = account.missing_hour_first or f"{stamp:%Y-%m-%d %H:%M}"
        if energy:
            account.missing_hour_kwh += float(lost.sum())
            account.leave_out(channel, "in an hour that does not exist", float(lost.sum()))
    return utc[exists], records[exists]


def _once(
    source: Source,
    channel: str,
    start: Ints,
    records: Records,
    energy: bool,
    account: Account,
) -> tuple[Ints, Records]:
    """Sort by time and drop equal repetitions; name two readings that contradict each other."""
    step = np.diff(start)
    if (step > 0).all():
        return start, records
    by_time = np.lexsort((records["seconds"], start))
    start, records = start[by_time], records[by_time]
    same = (np.diff(start) == 0) & (np.diff(records["seconds"].astype(np.int64)) == 0)
    again = np.flatnonzero(same) + 1
    if not again.size:
        return start, records
    value = records["value"]
    equal = (value[again] == value[again - 1]) | (
        np.isnan(value[again]) & np.isnan(value[again - 1])
    )
    if not equal.all():
        at = int(again[np.argmin(equal)])
        when = pd.Timestamp(int(start[at]), unit="s").isoformat()
        raise InputError(
            f"{source.place(records, at)}: household {source.household}: duplicate reading {when} "
            f"UTC: {source.what(channel)} = {value[at]:g} here and {value[at - 1]:g} in "
            f"{_row_of(source, records, at - 1, at)}: delete the wrong one"
        )
    account.repeated_rows += int(again.size)
    if energy:
        account.file_kwh[channel] -= float(value[again].sum())
    return np.delete(start, again), np.delete(records, again)


def _row_of(source: Source, records: Records, at: int, beside: int) -> str:
    same_file = records["file"][at] == records["file"][beside]
    return f"row {int(records['row'][at])}" if same_file else source.place(records, at)


def _usual(stamps: Ints) -> int:
    """The most frequent distance of the distinct ``stamps``; 0 where there is but one."""
    steps = np.diff(np.unique(stamps))
    if not len(steps):
        return 0
    sizes, counts = np.unique(steps, return_counts=True)
    return int(sizes[np.argmax(counts)])


def _lengths_before(source: Source, channel: str, ends: Ints, records: Records) -> Ints:
    """Return the length of each reading by the distance of the stamps, which are their ends."""
    seconds = records["seconds"].astype(np.int64)
    if (seconds > 0).all():
        return seconds
    for number in np.unique(records["file"]).tolist():
        mine = (records["file"] == number) & (seconds == 0)
        if mine.any():
            seconds[mine] = _usual(ends[mine]) or _one_reading(source, channel, records, mine)
    return seconds


def _one_reading(source: Source, channel: str, records: Records, mine: Mask) -> int:
    raise InputError(
        f"{source.place(records, int(np.argmax(mine)))}: household {source.household}: one reading "
        f"of {source.what(channel)}: how long it is cannot be told"
    )


def _lengths(
    source: Source, channel: str, start: Ints, records: Records, account: Account
) -> tuple[Ints, Ints]:
    """Return starts, jitter taken out, and lengths by the usual distance in each file.

    Where the distance is a multiple of the usual one, readings are missing. Names the row where
    another resolution begins.
    """
    start, seconds = start.copy(), records["seconds"].astype(np.int64)
    unknown = seconds == 0
    for number in np.unique(records["file"][unknown]).tolist():
        mine = np.flatnonzero(unknown & (records["file"] == number))
        usual = _usual(start[mine])
        if not usual:
            if len(mine) < int(unknown.sum()):
                usual = _usual(start[unknown])
            usual = usual or _one_reading(source, channel, records, unknown)
        begun = _steady(start[mine])
        if begun is not None:
            start[mine] = begun
            usual = _usual(begun)
        steps = np.diff(start[mine])
        odd = (steps % usual != 0) | _runs(steps, usual)
        if odd.any():
            at = int(np.argmax(odd))
            raise InputError(
                f"{source.place(records, int(mine[at + 1]))}: household {source.household}: mixed "
                f"resolutions: {steps[at] / 60:g} minutes, elsewhere {usual / 60:g}: put what has "
                "another into a file of its own"
            )
        doubles = (steps[1:] == steps[:-1]) & (steps[1:] > usual)
        apart = int((steps > usual).sum())
        if doubles.sum() > max(3, 4 * apart**2 / len(steps)):
            account.doubt(
                f"{source.what(channel)}: where readings are further apart than "
                f"{usual / 60:g} minutes, they often are so twice running: of another length?"
            )
        seconds[mine] = usual
    return start, seconds


def _steady(start: Ints) -> Ints | None:
    """Return the stamps without jitter, if they lie within 5 % of a steady grid and not on it."""
    steps = np.diff(start)
    middle = float(np.median(steps)) if len(steps) else 0.0
    grid = min(_GRIDS_S, key=lambda g: abs(g - middle))
    if abs(grid - middle) > _JITTER * grid or not (steps % grid).any():
        return None
    phases, counts = np.unique(start % grid, return_counts=True)
    phase = int(phases[np.argmax(counts)])
    if min(phase, grid - phase) <= _JITTER * grid:
        phase = 0
    off = (start - phase + grid // 2) % grid - grid // 2
    if np.abs(off).max() > _JITTER * grid or (np.diff(start - off) <= 0).any():
        return None
    return start - off


def _runs(steps: Ints, usual: int) -> Mask:
    """(n,) True in a run of equal steps so long that it is another resolution, not gaps."""
    runs = np.zeros(len(steps), dtype=np.bool_)
    edges = np.flatnonzero(np.diff(steps)) + 1
    begins = np.concatenate([[0], edges])
    ends = np.concatenate([edges, [len(steps)]])
    for low, high in zip(begins.tolist(), ends.tolist(), strict=True):
        if high - low >= _RUN and steps[low] != usual:
            runs[low:high] = True
    return runs


def _counted(
    source: Source,
    channel: str,
    start: Ints,
    records: Records,
    allow_resets: bool,
    account: Account,
) -> Series | None:
    """Return what a register counted between its readings."""
    if len(start) < 2:
        return None
    kwh = records["value"].astype(np.float64)
    try:
        steps = steps_of(start, kwh, None, allow_resets)
    except InputError:  # only then are the places needed
        places = [
            f"{source.place(records, at)}: household {source.household}: {source.what(channel)}"
            for at in range(len(start))
        ]
        steps = steps_of(start, kwh, places, allow_resets)
    account.false_readings += steps.false_readings
    account.resets += steps.resets
    begin, seconds = start[steps.begin], start[steps.end] - start[steps.begin]
    _check_kwh(source, channel, records[steps.end], seconds, steps.kwh)
    return Series(
        begin,
        seconds,
        steps.kwh,
        np.zeros(len(begin), dtype=np.bool_),
        regular=len(np.unique(seconds)) <= 4,
    )


def _held(source: Source, channel: str, start: Ints, records: Records, row_s: int) -> Series | None:
    """Return the energy of a power that holds until the next value, or as long as it may."""
    if len(start) < 2:
        return None
    power = records["value"].astype(np.float64)
    steps = np.diff(start)
    usual = _usual(start)
    most = records["seconds"].astype(np.int64)
    most = np.where(most > 0, most, 2 * usual)
    # The last value of a steady series holds as long as the others.
    steady = float((steps == usual).mean()) > 0.9
    seconds = np.minimum(np.append(steps, usual if steady else 0), most)
    keep = (seconds > 0) & ~np.isnan(power)
    start, seconds, power, records = start[keep], seconds[keep], power[keep], records[keep]
    kwh = power * (seconds / 3600.0)
    negative = power < 0
    if negative.any():
        at = int(np.argmax(negative))
        raise InputError(
            f"{source.place(records, at)}: household {source.household}: {source.what(channel)} = "
            f"{power[at]:g} kW: negative: what flows the other way is a reading of its own"
        )
    _check_kwh(source, channel, records, seconds, kwh)
    if not (records["seconds"] > 0).any():
        # One value stands for all of its time: how the power changed within it nobody knows.
        none = np.zeros(len(start), dtype=np.bool_)
        return Series(start, seconds, kwh, none, regular=steady)
    # Written down at every change, a power is known at every moment, however long it holds.
    pieces = -(-seconds // row_s)
    number = np.arange(int(pieces.sum())) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begin = np.repeat(start, pieces) + number * row_s
    rest = np.repeat(start + seconds, pieces) - begin
    length = np.minimum(rest, row_s)
    value = np.repeat(power, pieces) * (length / 3600.0)
    return Series(begin, length, value, np.zeros(len(begin), dtype=np.bool_), regular=False)


def _check_kwh(source: Source, channel: str, records: Records, seconds: Ints, kwh: Floats) -> None:
    most = MAX_INTERVAL_KWH * np.maximum(seconds / HALF_HOUR_S, 1.0)
    wrong = ~(kwh <= most)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InputError(
            f"{source.place(records, at)}: household {source.household}: {source.what(channel)} = "
            f"{kwh[at]:g} kWh in {seconds[at] / 60:g} minutes: more than {most[at]:g}: another "
            "unit, or a false reading?"
        )


def _finest(channel: str, start: Ints, seconds: Ints, value: Floats, account: Account) -> Mask:
    """(n,) False for readings of more than an hour beside finer ones of the same time."""
    keep = np.ones(len(start), dtype=np.bool_)
    long = np.flatnonzero(seconds > COARSEST_S)
    if not long.size or long.size == len(start):
        return keep
    fine = np.flatnonzero(seconds <= COARSEST_S)
    ends = start[fine] + seconds[fine]
    low = np.searchsorted(ends, start[long], side="right")
    high = np.searchsorted(start[fine], start[long] + seconds[long], side="left")
    beside = long[high > low]
    keep[beside] = False
    account.leave_out(channel, "daily sums beside finer readings", float(value[beside].sum()))
    return keep
