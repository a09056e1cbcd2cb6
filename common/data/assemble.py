"""One household's readings into its canonical frame: clock, order, grid, gaps, flows.

What is assumed is counted. A half hour counts as measured when readings of at most an hour cover
all of it; covered by at least half, it is scaled up (not at the ends); otherwise it is a gap. Both
kinds are marked as filled, and so is what only longer readings know, which keep their energy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats, Mask
from common.data.balance import Measured, balance
from common.data.frame import (
    APPLIANCES,
    COARSEST_MINUTES,
    COLUMNS,
    EXPORT_PRICE,
    IDLE_BATTERY,
    INTERVAL_MINUTES,
    Household,
)
from common.data.ordering import COARSEST_S, Account, Records, Series, Source, order
from common.data.readings import CHANNELS, FLOWS, LEVELS
from common.data.resample import HALF_HOUR_S, Grid, fill_gaps, spread
from common.errors import InputError

MAX_GAP_SHARE = 0.1
# Cutting the ends of a channel because another lacks them: more needs the user's word.
MAX_CUT_SHARE = 0.02
# What stands in for a column the source does not have.
ABSENT = {"temperature": 10.0, "solar_irradiance": 0.0, "price": 0.30}
# Where most half hours come from readings of an hour the home is an hourly one; else these count as
# filled.
_HOURLY_SHARE = 0.5
# A weather or price that is older than this is worth a word.
_HELD_HALF_HOURS = 6
_AROUND = ("pv", "export", "charge", "discharge")
SPANS = ("common", "all")


class UnusableError(InputError):
    """The readings of one household make no home; others of the same files may."""


class GapsError(UnusableError):
    """The household misses more than the stated share of its readings."""


@dataclass(frozen=True)
class Rules:
    """What the user allows, for every household of an import."""

    clock: str = "UTC"
    timezone: str = "UTC"
    allow_resets: bool = False
    max_gap_share: float = MAX_GAP_SHARE
    span: str | None = None  # one of SPANS; None: refuse to cut much
    price: float = ABSENT["price"]


@dataclass(frozen=True)
class _Channel:
    """One channel on the half-hour grid from ``first`` on, all meters of it together.

    ``total``: (n,) kWh (levels: sum of means). ``covered``: (n,) seconds of it known from readings
    of at most an hour, ``coarse`` from those of more than half an hour, ``long`` from longer ones.
    ``estimated``: (n,) where the file itself calls a value an estimate.
    """

    first: int
    total: Floats
    covered: Floats
    coarse: Floats
    long: Floats
    estimated: Mask

    @property
    def last(self) -> int:
        return self.first + len(self.total)

    def window(self, first: int, last: int) -> "_Channel":
        """Return half hours [first, last), zero outside."""

        def cut(values: Floats) -> Floats:
            out = np.zeros(last - first)
            begin, end = max(first, self.first), min(last, self.last)
            if end > begin:
                out[begin - first : end - first] = values[begin - self.first : end - self.first]
            return out

        return _Channel(
            first,
            cut(self.total),
            cut(self.covered),
            cut(self.coarse),
            cut(self.long),
            cut(self.estimated.astype(np.float64)) > 0,
        )


def assemble(
    name: str,
    records: Records,
    paths: Sequence[Path],
    *,
    rules: Rules,
    source: str,
    columns: Sequence[str] = (),
    real: bool = True,
    context: Mapping[str, "pd.Series[float]"] | None = None,
) -> tuple[Household, Account]:
    """Return the household and the account of its energy.

    ``records``: dtype READING, in file order; ``columns``: what their field ``series`` means.
    ``context``: half-hourly UTC series of weather or prices for columns the files lack.
    Raises InputError with file and row; GapsError when more than the allowed share is missing.
    """
    account = Account()
    what = f"{paths[int(records['file'][0])]}: household {name}"
    series = _series(name, records, paths, columns, rules, account)
    flows = [c for c in (*FLOWS, *APPLIANCES) if c in series]
    if not {"consumption", "import", *APPLIANCES} & set(flows):
        raise UnusableError(f"{what}: no consumption among {sorted(series)}")
    _refuse_daily(what, [s for c in flows for s in series[c]])
    meters = {c: _on_grid(what, members, c in LEVELS) for c, members in series.items()}
    whole = {"consumption", "import"} & set(flows)
    main = [c for c in flows if c in FLOWS or not whole]
    first, last = _span(what, {c: meters[c] for c in main}, rules, account)
    guessed, gap, coarse = (np.zeros(last - first, dtype=np.bool_) for _ in range(3))
    measured: dict[str, Measured] = {}
    count = 0
    for channel in flows:
        pad = rules.span == "all" and channel in _AROUND
        part = _together(meters[channel], first, last, pad)
        kept = (part.covered >= HALF_HOUR_S / 2) | (part.long >= HALF_HOUR_S / 2)
        unsure = (part.covered < HALF_HOUR_S - 1) | part.estimated
        account.kept_kwh[channel] = float(part.total[kept].sum())
        account.leave_out(
            channel, "in half hours known by less than half", float(part.total[~kept].sum())
        )
        inner = unsure & kept & (part.long == 0) & (part.covered > 0)
        inner[[0, -1]] = False  # a half hour at an end keeps what was measured
        part.total[inner] *= np.maximum(HALF_HOUR_S / part.covered[inner], 1.0)
        measured[channel] = Measured(part.total, kept)
        if channel in main:
            count += int(unsure.sum())
            guessed |= unsure
            gap |= part.covered < HALF_HOUR_S / 2
            coarse |= part.coarse > HALF_HOUR_S / 2
        elif (~kept).mean() > rules.max_gap_share:
            account.notes.append(f"{channel}: {(~kept).mean():.0%} missing: its use is in misc")
            del measured[channel]
    account.gap_share = float(gap.mean())
    if account.gap_share > rules.max_gap_share:
        raise GapsError(
            f"{what}: {account.gap_share:.1%} of its half hours are missing"
            f"{_longest_reading([s for c in main for s in series[c]])}, more than "
            f"{rules.max_gap_share:.1%} (--max-gaps allows more)"
        )
    flat = balance(what, measured)
    account.contradictions = flat.contradictions
    count += flat.contradictions
    guessed |= flat.gap
    account.coarse_share = float((coarse & ~guessed).mean())
    hourly = account.coarse_share > _HOURLY_SHARE
    if not hourly:
        count += int((coarse & ~guessed).sum())
        guessed |= coarse
    account.filled_share = float(guessed.mean())
    index = pd.date_range(
        pd.Timestamp(first * HALF_HOUR_S, unit="s", tz="UTC"),
        periods=last - first,
        freq=f"{INTERVAL_MINUTES}min",
        unit="us",
        name="timestamp",
    )
    frame: dict[str, Floats] = dict.fromkeys(COLUMNS, np.zeros(len(index)))
    frame |= {key: np.full(len(index), idle) for key, idle in IDLE_BATTERY.items()}
    frame |= flat.columns
    for level in LEVELS:
        values, held = _level(what, level, meters, context, index, rules, account)
        if values is not None:
            frame[level] = values
        count += held
    for channel in flows:
        if channel in measured:
            flow = measured[channel]
            account.imported_kwh[channel] = float(fill_gaps(flow.kwh, flow.known).sum())
    columns_ = [c for c in (*COLUMNS, EXPORT_PRICE) if c in frame]
    try:
        home = Household(
            name,
            pd.DataFrame(frame, index=index, columns=columns_),
            rules.timezone,
            COARSEST_MINUTES if hourly else INTERVAL_MINUTES,
            source,
            real,
            count,
            _phase([s for c in main for s in series[c]]) if hourly else 0,
            filled_rows=guessed,
        )
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    return home, account


def _series(
    name: str,
    records: Records,
    paths: Sequence[Path],
    columns: Sequence[str],
    rules: Rules,
    account: Account,
) -> dict[str, list[Series]]:
    """Return channel -> its meters, each in order."""
    found: dict[str, list[Series]] = {}
    meter = records["channel"].astype(np.int32) << 16 | records["series"]
    codes = np.unique(meter).tolist()
    for code in codes:
        channel, column = CHANNELS[code >> 16], columns[code & 0xFFFF] if columns else ""
        one = order(
            Source(name, paths, column),
            channel,
            records if len(codes) == 1 else records[meter == code],
            clock=rules.clock,
            allow_resets=rules.allow_resets,
            account=account,
        )
        if one is not None and len(one.start):
            found.setdefault(channel, []).append(one)
            account.columns.setdefault(channel, []).append(column)
    return found


def _refuse_daily(what: str, flows: Sequence[Series]) -> None:
    """Refuse a home of which most is known by the day or the like."""
    for series in flows:
        long = series.seconds[series.long]
        if long.sum() > 0.5 * series.seconds.sum():
            raise UnusableError(
                f"{what}: readings every {float(np.median(long)) / 3600:g} hours cannot tell one "
                "half hour from another; an hour is the coarsest"
            )


def _longest_reading(flows: Sequence[Series]) -> str:
    hours = max((int(s.seconds[s.long].max()) / 3600 for s in flows if s.long.any()), default=0.0)
    return f" or known only by readings of up to {hours:.3g} hours" if hours else ""


def _on_grid(what: str, members: Sequence[Series], mean: bool) -> list[_Channel]:
    """Return each meter of one channel on the half-hour grid; those that take turns as one.

    ``mean``: the values are means over their time, weighted by it.
    """
    found: list[_Channel] = []
    turns: list[_Channel] = []
    for series in members:
        if mean:
            weight = series.seconds / HALF_HOUR_S
            series = replace(series, value=series.value * weight, regular=True)
        long = series.long
        fine = _spread(series, ~long)
        if fine is not None and (fine.covered > HALF_HOUR_S + 1).any():
            at = fine.first + int(np.argmax(fine.covered > HALF_HOUR_S + 1))
            when = pd.Timestamp(at * HALF_HOUR_S, unit="s")
            raise InputError(f"{what}: readings overlap at {when} UTC")
        parts = [g for g in (fine, _spread(series, long)) if g is not None]
        first = min(g.first for g in parts)
        size = max(g.first + len(g.total) for g in parts) - first
        meter = _Channel(
            first,
            np.zeros(size),
            np.zeros(size),
            np.zeros(size),
            np.zeros(size),
            np.zeros(size, dtype=np.bool_),
        )
        _add(meter.total, first, parts, "total")
        _add(meter.covered, first, [g for g in (fine,) if g], "covered")
        _add(meter.coarse, first, [g for g in (_spread(series, series.coarse),) if g], "covered")
        _add(meter.long, first, [g for g in (_spread(series, long),) if g], "covered")
        guess = _spread(series, series.estimated)
        if guess is not None:
            meter.estimated[guess.first - first :][: len(guess.total)] |= guess.covered > 0
        (turns if series.takes_turns else found).append(meter)
    if turns:
        first, last = min(m.first for m in turns), max(m.last for m in turns)
        found.append(_sum([m.window(first, last) for m in turns]))
    return found


def _spread(series: Series, which: Mask) -> Grid | None:
    if not which.any():
        return None
    if which.all():
        return spread(series.start, series.seconds, series.value)
    return spread(series.start[which], series.seconds[which], series.value[which])


def _add(into: Floats, first: int, grids: Sequence[Grid], what: str) -> None:
    for grid in grids:
        into[grid.first - first :][: len(grid.total)] += getattr(grid, what)


def _sum(meters: Sequence[_Channel]) -> _Channel:
    """Return meters of one window of which each counts while the others do not."""
    cover = np.minimum(np.sum([m.covered for m in meters], axis=0), HALF_HOUR_S)
    return _Channel(
        meters[0].first,
        np.sum([m.total for m in meters], axis=0),
        cover,
        np.max([m.coarse for m in meters], axis=0),
        np.max([m.long for m in meters], axis=0),
        np.any([m.estimated for m in meters], axis=0),
    )


def _together(meters: Sequence[_Channel], first: int, last: int, pad: bool) -> _Channel:
    """Return half hours [first, last) of meters that add up: known where each of them is.

    ``pad``: before a meter begins and after it ends it counts nothing.
    """
    parts = []
    for meter in meters:
        part = meter.window(first, last)
        if pad:
            part.covered[: max(0, meter.first - first)] = HALF_HOUR_S
            part.covered[max(0, meter.last - first) :] = HALF_HOUR_S
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    return _Channel(
        first,
        np.sum([p.total for p in parts], axis=0),
        np.min([p.covered for p in parts], axis=0),
        np.max([p.coarse for p in parts], axis=0),
        np.max([p.long for p in parts], axis=0),
        np.any([p.estimated for p in parts], axis=0),
    )


def _ends(meter: _Channel) -> tuple[int, int]:
    """Return first and last half hour of a meter, leaving out ends known by less than half."""
    known = meter.covered + meter.long
    return (
        meter.first + int(known[0] < HALF_HOUR_S / 2),
        meter.last - int(known[-1] < HALF_HOUR_S / 2),
    )


def _span(
    what: str, meters: Mapping[str, Sequence[_Channel]], rules: Rules, account: Account
) -> tuple[int, int]:
    """Return the half hours [first, last) of the household. Raises InputError if much is cut."""
    ends = {c: [_ends(m) for m in members] for c, members in meters.items()}
    decide = [c for c in ends if rules.span != "all" or c not in _AROUND] or list(ends)
    first = max(low for c in decide for low, _ in ends[c])
    last = min(high for c in decide for _, high in ends[c])
    if last <= first:
        raise UnusableError(f"{what}: no whole half hour in all of {sorted(meters)}")
    for channel, members in meters.items():
        cut = 0.0
        for meter in members:
            inside = meter.window(first, last)
            cut += float(meter.total.sum() - inside.total.sum())
        whole = sum(float(m.total.sum()) for m in members)
        account.leave_out(channel, "outside the time that all channels have", max(cut, 0.0))
        longest = max(high - low for low, high in ends[channel])
        if rules.span is None and cut > MAX_CUT_SHARE * whole and longest - (last - first) > 2:
            late = max(decide, key=lambda c: max(low for low, _ in ends[c]))
            early = min(decide, key=lambda c: min(high for _, high in ends[c]))
            raise UnusableError(
                f"{what}: {late} begins {_utc(first)}, {early} ends {_utc(last)}: taking what all "
                f"channels have would cut {cut / whole:.1%} of {channel}: '--span common' cuts it, "
                "'--span all' lets panels and batteries count nothing where they have no readings"
            )
    return first, last


def _utc(half_hour: int) -> str:
    return f"{pd.Timestamp(half_hour * HALF_HOUR_S, unit='s'):%Y-%m-%d %H:%M} UTC"


def _phase(flows: Sequence[Series]) -> int:
    """Return the minutes by which the hours of an hourly source lie off those of UTC."""
    coarse = max(flows, key=lambda s: float(np.median(s.seconds)))
    if len(np.unique(coarse.seconds)) > 4:  # irregular: no grid to be shifted against
        return 0
    shifts, counts = np.unique(coarse.start % COARSEST_S, return_counts=True)
    return int(shifts[np.argmax(counts)]) // 60


def _level(
    what: str,
    level: str,
    meters: Mapping[str, Sequence[_Channel]],
    context: Mapping[str, "pd.Series[float]"] | None,
    index: pd.DatetimeIndex,
    rules: Rules,
    account: Account,
) -> tuple[Floats | None, int]:
    """Return weather or prices on ``index`` and how many of them were held or made up."""
    before = rules.price if level == "price" else ABSENT.get(level, 0.0)
    if level in meters:
        first = int(index[0].timestamp()) // HALF_HOUR_S
        part = _together(meters[level], first, first + len(index), pad=False)
        cover = part.covered + part.long
        mean = part.total / np.maximum(cover / HALF_HOUR_S, 1e-9)
        given = pd.Series(np.where(cover > 0, mean, np.nan), index=index)
    elif context is not None and level in context:
        given = context[level].reindex(index)
    else:
        if level == EXPORT_PRICE:
            return None, 0  # export is paid as the run's settings say
        account.absent.append(level)
        return np.full(len(index), before), 0
    missing = np.asarray(given.isna())
    if missing.mean() > rules.max_gap_share:
        raise GapsError(
            f"{what}: {level} is known for {1 - missing.mean():.1%} of the time from "
            f"{index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}: bring it for all of it (--max-gaps "
            "allows more)"
        )
    longest = _longest(missing)
    if longest > _HELD_HALF_HOURS:
        account.doubt(f"{level} is missing for {longest / 2:g} hours on end: the last one holds")
    if missing.any():
        account.held_levels[level] = int(missing.sum())
    # Weather and tariffs hold until the next value.
    return np.asarray(given.ffill().fillna(before), dtype=np.float64), int(missing.sum())


def _longest(true: Mask) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if edges.size else 0
