"""One household's readings into its canonical frame: clock, order, grid, gaps, flows.

What is assumed is counted. A half hour counts as measured when readings cover all of it; covered
by at least half, it is scaled up (not at the ends); otherwise it is a gap. Both kinds are marked
as filled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.arrays import Floats, Ints
from common.data.frame import (
    APPLIANCES,
    COARSEST_MINUTES,
    COLUMNS,
    EXPORT_PRICE,
    IDLE_BATTERY,
    INTERVAL_MINUTES,
    Household,
)
from common.data.readings import CHANNELS, FLOWS, LEVELS
from common.data.resample import HALF_HOUR_S, Grid, fill_gaps, spread, to_utc
from common.data.spool import ESTIMATED, WALL_CLOCK
from common.errors import InputError

MAX_GAP_SHARE = 0.1
# What stands in for a column the source does not have.
ABSENT = {"temperature": 10.0, "solar_irradiance": 0.0, "price": 0.30}
# Sums of rounded meters may fall below zero by this much; it is clipped.
_ROUNDING_KWH = 0.05
Records = NDArray[np.void]


class GapsError(InputError):
    """The household misses more than the stated share of its readings."""


@dataclass
class Account:
    """Where the energy of the files went, in kWh, and what was added, per channel."""

    file_kwh: dict[str, float] = field(default_factory=dict)
    kept_kwh: dict[str, float] = field(default_factory=dict)
    missing_hour_kwh: float = 0.0
    repeated_rows: int = 0
    gap_share: float = 0.0
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Series:
    """One channel's readings in UTC, ordered, without repetition."""

    start: Ints
    seconds: Ints
    value: Floats
    estimated: NDArray[np.bool_]


def assemble(
    name: str,
    records: Records,
    paths: Sequence[Path],
    *,
    timezone: str,
    source: str,
    repeats: bool = False,
    real: bool = True,
    max_gap_share: float = MAX_GAP_SHARE,
    context: Mapping[str, "pd.Series[float]"] | None = None,
    price: float = ABSENT["price"],
) -> tuple[Household, Account]:
    """Return the household and the account of its energy.

    ``records``: dtype READING, in file order. ``context``: half-hourly UTC series of
    temperature, solar_irradiance or price for columns the files lack.
    Raises InputError with file and row; GapsError when more than ``max_gap_share`` is missing.
    """
    account = Account()
    series = {}
    for code in np.unique(records["channel"]).tolist():
        mine = records[records["channel"] == code]
        channel = CHANNELS[code]
        series[channel] = _ordered(name, channel, mine, paths, timezone, repeats, account)
    flows = [c for c in (*FLOWS, *APPLIANCES) if c in series]
    if not {"consumption", "import", *APPLIANCES} & set(flows):
        raise InputError(f"{paths[0]}: household {name}: no consumption among {sorted(series)}")
    resolution, phase = _resolution(name, [series[c] for c in flows], paths)
    grids = {channel: spread(s.start, s.seconds, s.value) for channel, s in series.items()}
    spans = [c for c in FLOWS if c in series] or flows
    first = max(grids[c].first + int(grids[c].covered[0] < HALF_HOUR_S / 2) for c in spans)
    last = min(
        grids[c].first + len(grids[c].total) - int(grids[c].covered[-1] < HALF_HOUR_S / 2)
        for c in spans
    )
    if last <= first:
        raise InputError(f"{paths[0]}: household {name}: no whole half hour in all of {spans}")
    values: dict[str, Floats] = {}
    filled = np.zeros(last - first, dtype=np.bool_)
    gaps = np.zeros(last - first, dtype=np.bool_)
    count = 0
    for channel in flows:
        series_, grid = series[channel], grids[channel]
        doubled = grid.covered > HALF_HOUR_S + 1
        if doubled.any():
            when = pd.Timestamp((grid.first + int(np.argmax(doubled))) * HALF_HOUR_S, unit="s")
            raise InputError(f"{paths[0]}: household {name}: readings overlap at {when} UTC")
        total, covered = _window(grid, first, last)
        gap = covered < HALF_HOUR_S / 2
        guessed = covered < HALF_HOUR_S - 1
        account.kept_kwh[channel] = float(total[~gap].sum())
        inner = guessed & ~gap
        inner[[0, -1]] = False  # a half hour at an end keeps what was measured
        total[inner] *= HALF_HOUR_S / covered[inner]
        if series_.estimated.any():
            rows = series_.start[series_.estimated] // HALF_HOUR_S - first
            ends = series_.start + series_.seconds - 1
            upto = ends[series_.estimated] // HALF_HOUR_S - first
            for low, high in zip(rows.tolist(), upto.tolist(), strict=True):
                guessed[max(0, low) : max(0, high + 1)] = True
        values[channel] = fill_gaps(total, ~gap)
        count += int(guessed.sum())
        filled |= guessed
        gaps |= gap
    account.gap_share = float(gaps.mean())
    if account.gap_share > max_gap_share:
        raise GapsError(
            f"{paths[0]}: household {name}: {account.gap_share:.1%} of its half hours are missing, "
            f"more than {max_gap_share:.1%}"
        )
    index = pd.date_range(
        pd.Timestamp(first * HALF_HOUR_S, unit="s", tz="UTC"),
        periods=last - first,
        freq=f"{INTERVAL_MINUTES}min",
        unit="us",
        name="timestamp",
    )
    columns: dict[str, Floats] = dict.fromkeys(COLUMNS, np.zeros(len(index)))
    columns |= {key: np.full(len(index), idle) for key, idle in IDLE_BATTERY.items()}
    columns |= _consumption(name, values, index, paths)
    for level in LEVELS:
        if level in grids:
            total, covered = _window(grids[level], first, last)
            mean = total / np.maximum(covered / HALF_HOUR_S, 1e-9)
            given = pd.Series(np.where(covered > 0, mean, np.nan), index=index)
        elif context is not None and level in context:
            given = context[level].reindex(index)
        elif level == EXPORT_PRICE:
            continue  # none: export is paid as the run's settings say
        else:
            account.absent.append(level)
            columns[level] = np.full(len(index), price if level == "price" else ABSENT[level])
            continue
        # Weather and tariffs hold until the next value.
        before = price if level == "price" else ABSENT.get(level, 0.0)
        held = given.ffill().fillna(before)
        count += int(given.isna().sum())
        columns[level] = np.asarray(held, dtype=np.float64)
    order = [c for c in (*COLUMNS, EXPORT_PRICE) if c in columns]
    frame = pd.DataFrame(columns, index=index, columns=order)
    try:
        home = Household(
            name, frame, timezone, resolution, source, real, count, phase, filled_rows=filled
        )
    except InputError as error:
        raise InputError(f"{paths[0]}: {error}") from None
    return home, account


def _ordered(
    name: str,
    channel: str,
    records: Records,
    paths: Sequence[Path],
    timezone: str,
    repeats: bool,
    account: Account,
) -> _Series:
    """Bring one channel to UTC and in order, or name the row that is not."""
    if channel not in LEVELS:
        account.file_kwh[channel] = float(records["value"].sum())
    start = records["start"].astype(np.int64)
    wall = (records["flags"] & WALL_CLOCK) > 0
    if wall.any():
        utc, exists = to_utc(start, timezone)
        start = np.where(wall, utc, start)
        keep = exists | ~wall
        if channel not in LEVELS:
            account.missing_hour_kwh += float(records["value"][~keep].sum())
        start, records = start[keep], records[keep]
    files = records["file"]
    if not repeats:
        back = np.diff(start) <= 0
        wrong = np.flatnonzero(back & (np.diff(files) == 0))
        if wrong.size:
            raise _disorder(name, start, records, paths, int(wrong[0]) + 1)
    order = np.argsort(start, kind="stable")
    start, records = start[order], records[order]
    same = np.flatnonzero(np.diff(start) == 0) + 1
    if same.size:
        differ = records["value"][same] != records["value"][same - 1]
        if differ.any() or not repeats:
            at = int(same[np.argmax(differ)] if differ.any() else same[0])
            raise _disorder(name, start, records, paths, at)
        account.repeated_rows += int(same.size)
        if channel not in LEVELS:
            account.file_kwh[channel] -= float(records["value"][same].sum())
        start, records = np.delete(start, same), np.delete(records, same)
    seconds = records["seconds"].astype(np.int64)
    if (seconds == 0).any():
        seconds = _infer_seconds(name, channel, start, records, paths)
    return _Series(
        start,
        seconds,
        records["value"].astype(np.float64),
        (records["flags"] & ESTIMATED) > 0,
    )


def _place(records: Records, paths: Sequence[Path], at: int) -> str:
    return f"{paths[int(records['file'][at])]}: row {int(records['row'][at])}"


def _disorder(
    name: str, start: Ints, records: Records, paths: Sequence[Path], at: int
) -> InputError:
    when = pd.Timestamp(int(start[at]), unit="s").isoformat()
    kind = "duplicate" if start[at] == start[at - 1] else "out of order"
    return InputError(f"{_place(records, paths, at)}: household {name}: {kind} reading {when} UTC")


def _infer_seconds(
    name: str, channel: str, start: Ints, records: Records, paths: Sequence[Path]
) -> Ints:
    """Return the usual distance of readings; name the row where another resolution begins."""
    if len(start) < 2:
        raise InputError(f"{_place(records, paths, 0)}: household {name}: one reading of {channel}")
    steps = np.diff(start)
    sizes, counts = np.unique(steps, return_counts=True)
    usual = int(sizes[np.argmax(counts)])
    often = counts >= max(10, 0.05 * len(steps))
    other = sizes[(sizes != usual) & ((sizes < usual) | often)]
    if other.size:
        at = int(np.argmax(np.isin(steps, other)))
        raise InputError(
            f"{_place(records, paths, at + 1)}: household {name}: mixed resolutions: "
            f"{steps[at] / 60:g} minutes, elsewhere {usual / 60:g}"
        )
    return np.full(len(start), usual, dtype=np.int64)


def _resolution(name: str, flows: Sequence[_Series], paths: Sequence[Path]) -> tuple[int, int]:
    """Return the source's interval (30 or 60 minutes) and its shift against UTC."""
    coarse = max(flows, key=lambda s: float(np.quantile(s.seconds, 0.9)))
    usual = float(np.quantile(coarse.seconds, 0.9))
    if usual > COARSEST_MINUTES * 60:
        raise InputError(
            f"{paths[0]}: household {name}: readings every {usual / 3600:g} hours cannot tell one "
            "half hour from another; an hour is the coarsest"
        )
    resolution = INTERVAL_MINUTES if usual <= HALF_HOUR_S else COARSEST_MINUTES
    seconds = np.minimum(coarse.seconds, resolution * 60)
    inside = coarse.start % (resolution * 60)
    off = inside if resolution * 60 == int(usual) else inside % int(np.median(seconds))
    if len(np.unique(coarse.seconds)) > 4:  # irregular: no grid to be shifted against
        return resolution, 0
    shifts, counts = np.unique(off, return_counts=True)
    return resolution, int(shifts[np.argmax(counts)]) // 60


def _window(grid: Grid, first: int, last: int) -> tuple[Floats, Floats]:
    """Return total and covered over half hours [first, last), zero outside the grid."""
    total, covered = np.zeros(last - first), np.zeros(last - first)
    begin, end = max(first, grid.first), min(last, grid.first + len(grid.total))
    if end > begin:
        total[begin - first : end - first] = grid.total[begin - grid.first : end - grid.first]
        covered[begin - first : end - first] = grid.covered[begin - grid.first : end - grid.first]
    return total, covered


def _consumption(
    name: str, values: Mapping[str, Floats], index: pd.DatetimeIndex, paths: Sequence[Path]
) -> dict[str, Floats]:
    """Return the appliances and pv from whatever flows the source measures."""
    size = len(index)
    flow = {c: values.get(c, np.zeros(size)) for c in FLOWS}
    parts = {a: values[a] for a in APPLIANCES if a in values}
    pv = flow["pv"]
    if "consumption" in values:
        total = flow["consumption"]
    elif "import" not in values:
        return {**parts, "pv": pv}
    elif "export" in values and not {"pv", "charge", "discharge"} & set(values):
        # Without a generation meter only net flows are known: they are kept as they are.
        total, pv = flow["import"], flow["export"]
    else:
        total = flow["import"] + pv + flow["discharge"] - flow["export"] - flow["charge"]
    low = total < 0
    if low.any():
        worst = int(np.argmin(total))
        if total[worst] < -_ROUNDING_KWH:
            raise InputError(
                f"{paths[0]}: household {name}: {index[worst].isoformat()}: import + pv - export "
                f"gives a consumption of {total[worst]:g} kWh"
            )
        total = np.clip(total, 0.0, None)
    named = sum(parts.values(), np.zeros(size))
    # Sub-meters and main meter disagree a little; the main meter decides.
    scale = np.where(named > total, total / np.maximum(named, 1e-12), 1.0)
    scaled = {a: v * scale for a, v in parts.items()}
    rest = np.clip(total - named * scale, 0.0, None)
    return {**scaled, "misc": scaled.get("misc", 0.0) + rest, "pv": pv}
