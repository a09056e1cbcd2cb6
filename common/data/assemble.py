"""One household's readings into its canonical frame: clock, order, grid, gaps, flows.

What is assumed is counted. A row counts as measured when readings of at most an hour cover all of
it; covered by at least half, it is scaled up (not at the ends); otherwise it is a gap. Both kinds
are marked as filled, and so is what only longer readings know, which keep their energy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from common.arrays import Floats, Mask
from common.cadence import HALF_HOUR, MINUTES, Cadence
from common.data.balance import Measured, balance
from common.data.frame import (
    APPLIANCES,
    COLUMNS,
    EXPORT_PRICE,
    IDLE_BATTERY,
    Household,
)
from common.data.ordering import Account, Records, Series, Source, order
from common.data.readings import CHANNELS, FLOWS, LEVELS
from common.data.resample import Grid, fill_gaps, spread
from common.errors import InputError

MAX_GAP_SHARE = 0.1
# Cutting the ends of a channel because another lacks them: more needs the user's word.
MAX_CUT_SHARE = 0.02
# What stands in for a column the source does not have.
ABSENT = {"temperature": 10.0, "solar_irradiance": 0.0, "price": 0.30}
# Where most rows come from longer readings the home is one of these; else they count as filled.
_COARSE_SHARE = 0.5
# A weather or price that is older than this is worth a word.
_HELD_HOURS = 3
_SAME_KWH = 0.002  # so little apart are, in each row, a sum and the numbers that it sums
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
    clocks: Mapping[str, str] = field(default_factory=dict)  # of channels from files beside
    timezone: str = "UTC"
    allow_resets: bool = False
    max_gap_share: float = MAX_GAP_SHARE
    span: str | None = None  # one of SPANS; None: refuse to cut much
    price: float = ABSENT["price"]
    cadence: Cadence = HALF_HOUR  # of the rows that are made


@dataclass(frozen=True)
class _Channel:
    """One channel on the grid of rows from ``first`` on, all meters of it together.

    ``total``: (n,) kWh (levels: sum of means). ``covered``: (n,) seconds of it known from readings
    of at most an hour, ``coarse`` from those of more than a row, ``long`` from longer ones.
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
        """Return rows [first, last), zero outside."""

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
    ``context``: UTC series, a value a row, of weather or prices for columns the files lack.
    Raises InputError with file and row; GapsError when more than the allowed share is missing.
    """
    account = Account()
    row_s = rules.cadence.seconds
    what = f"{paths[int(records['file'][0])]}: household {name}"
    series = _series(name, records, paths, columns, rules, account)
    flows = [c for c in (*FLOWS, *APPLIANCES) if c in series]
    if not {"consumption", "import", *APPLIANCES} & set(flows):
        raise UnusableError(f"{what}: no consumption among {sorted(series)}")
    _refuse_daily(what, [s for c in flows for s in series[c]])
    meters = {c: _on_grid(what, members, c in LEVELS, row_s) for c, members in series.items()}
    for channel in [c for c in flows if c in FLOWS]:
        _refuse_sums(what, channel, meters[channel], series[channel], account, row_s)
    whole = {"consumption", "import"} & set(flows)
    main = [c for c in flows if c in FLOWS or not whole]
    first, last = _span(what, {c: meters[c] for c in main}, rules, account)
    guessed, gap, coarse = (np.zeros(last - first, dtype=np.bool_) for _ in range(3))
    measured: dict[str, Measured] = {}
    count = 0
    for channel in flows:
        pad = rules.span == "all" and channel in _AROUND
        part = _together(meters[channel], first, last, row_s, pad)
        kept = (part.covered >= row_s / 2) | (part.long >= row_s / 2)
        unsure = (part.covered < row_s - 1) | part.estimated
        account.kept_kwh[channel] = float(part.total[kept].sum())
        lost = float(part.total[~kept].sum())
        account.leave_out(channel, f"in {rules.cadence.noun}s known by less than half", lost)
        inner = unsure & kept & (part.long == 0) & (part.covered > 0)
        inner[[0, -1]] = False  # a row at an end keeps what was measured
        part.total[inner] *= np.maximum(row_s / part.covered[inner], 1.0)
        measured[channel] = Measured(part.total, kept)
        if channel in main:
            count += int(unsure.sum())
            guessed |= unsure
            gap |= part.covered < row_s / 2
            coarse |= part.coarse > row_s / 2
        elif (~kept).mean() > rules.max_gap_share:
            account.notes.append(f"{channel}: {(~kept).mean():.0%} missing: its use is in misc")
            del measured[channel]
    account.gap_share = float(gap.mean())
    if account.gap_share > rules.max_gap_share:
        raise GapsError(
            f"{what}: {account.gap_share:.1%} of its {rules.cadence.noun}s are missing"
            f"{_longest_reading([s for c in main for s in series[c]])}, more than "
            f"{rules.max_gap_share:.1%} (--max-gaps allows more)"
        )
    flat = balance(what, measured, rules.cadence)
    account.contradictions = flat.contradictions
    count += flat.contradictions
    guessed |= flat.gap
    account.coarse_share = float((coarse & ~guessed).mean())
    spread_out = account.coarse_share > _COARSE_SHARE
    told = [s for c in main for s in series[c]]
    resolution = _resolution(told, row_s) if spread_out else rules.cadence.minutes
    if not spread_out:
        count += int((coarse & ~guessed).sum())
        guessed |= coarse
    account.filled_share = float(guessed.mean())
    index = pd.date_range(
        pd.Timestamp(first * row_s, unit="s", tz="UTC"),
        periods=last - first,
        freq=rules.cadence.step,
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
            filled = fill_gaps(flow.kwh, flow.known, rules.cadence.per_day)
            account.imported_kwh[channel] = float(filled.sum())
    columns_ = [c for c in (*COLUMNS, EXPORT_PRICE) if c in frame]
    try:
        home = Household(
            name,
            pd.DataFrame(frame, index=index, columns=columns_),
            rules.timezone,
            resolution,
            source,
            real,
            count,
            _phase(told, resolution) if spread_out else 0,
            filled_rows=guessed,
            interval_minutes=rules.cadence.minutes,
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
            clock=rules.clocks.get(channel, rules.clock),
            allow_resets=rules.allow_resets,
            account=account,
            row_s=rules.cadence.seconds,
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


def _on_grid(what: str, members: Sequence[Series], mean: bool, row_s: int) -> list[_Channel]:
    """Return each meter of one channel on the grid of rows; those that take turns as one.

    ``mean``: the values are means over their time, weighted by it.
    """
    found: list[_Channel] = []
    turns: list[_Channel] = []
    for series in members:
        if mean:
            weight = series.seconds / row_s
            series = replace(series, value=series.value * weight, regular=True)
        long = series.long
        fine = _spread(series, ~long, row_s)
        if fine is not None and (fine.covered > row_s + 1).any():
            at = fine.first + int(np.argmax(fine.covered > row_s + 1))
            when = pd.Timestamp(at * row_s, unit="s")
            raise InputError(f"{what}: readings overlap at {when} UTC")
        parts = [g for g in (fine, _spread(series, long, row_s)) if g is not None]
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
        coarse = _spread(series, series.coarse(row_s), row_s)
        _add(meter.coarse, first, [g for g in (coarse,) if g], "covered")
        _add(meter.long, first, [g for g in (_spread(series, long, row_s),) if g], "covered")
        guess = _spread(series, series.estimated, row_s)
        if guess is not None:
            meter.estimated[guess.first - first :][: len(guess.total)] |= guess.covered > 0
        (turns if series.takes_turns else found).append(meter)
    if turns:
        first, last = min(m.first for m in turns), max(m.last for m in turns)
        found.append(_sum([m.window(first, last) for m in turns], row_s))
    return found


def _refuse_sums(
    what: str,
    channel: str,
    meters: Sequence[_Channel],
    series: Sequence[Series],
    account: Account,
    row_s: int,
) -> None:
    """Refuse a meter that counts what others of its role count already: it would count twice."""
    if len(meters) < 2 or any(one.takes_turns for one in series):
        return
    first, last = min(m.first for m in meters), max(m.last for m in meters)
    total = np.array([m.window(first, last).total for m in meters])
    known = np.min([m.window(first, last).covered for m in meters], axis=0) > row_s - 1
    total = total[:, known]
    for number, one in enumerate(total):
        others = total.sum(axis=0) - one
        same = len(one) >= 12 and one.mean() > 10 * _SAME_KWH
        if same and np.abs(one - others).max() <= _SAME_KWH:
            names = account.columns[channel]
            rest = [name for at, name in enumerate(names) if at != number]
            raise UnusableError(
                f"{what}: {channel}: {names[number]!r} is the sum of {' + '.join(map(repr, rest))}"
                ": together they would count twice: map it, or them"
            )


def _spread(series: Series, which: Mask, row_s: int) -> Grid | None:
    if not which.any():
        return None
    if which.all():
        return spread(series.start, series.seconds, series.value, row_s)
    return spread(series.start[which], series.seconds[which], series.value[which], row_s)


def _add(into: Floats, first: int, grids: Sequence[Grid], what: str) -> None:
    for grid in grids:
        into[grid.first - first :][: len(grid.total)] += getattr(grid, what)


def _sum(meters: Sequence[_Channel], row_s: int) -> _Channel:
    """Return meters of one window of which each counts while the others do not."""
    cover = np.minimum(np.sum([m.covered for m in meters], axis=0), row_s)
    return _Channel(
        meters[0].first,
        np.sum([m.total for m in meters], axis=0),
        cover,
        np.max([m.coarse for m in meters], axis=0),
        np.max([m.long for m in meters], axis=0),
        np.any([m.estimated for m in meters], axis=0),
    )


def _together(meters: Sequence[_Channel], first: int, last: int, row_s: int, pad: bool) -> _Channel:
    """Return rows [first, last) of meters that add up: known where each of them is.

    ``pad``: before a meter begins and after it ends it counts nothing.
    """
    parts = []
    for meter in meters:
        part = meter.window(first, last)
        if pad:
            part.covered[: max(0, meter.first - first)] = row_s
            part.covered[max(0, meter.last - first) :] = row_s
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


def _ends(meter: _Channel, row_s: int) -> tuple[int, int]:
    """Return first and last row of a meter, leaving out ends known by less than half."""
    known = meter.covered + meter.long
    return (
        meter.first + int(known[0] < row_s / 2),
        meter.last - int(known[-1] < row_s / 2),
    )


def _span(
    what: str, meters: Mapping[str, Sequence[_Channel]], rules: Rules, account: Account
) -> tuple[int, int]:
    """Return the rows [first, last) of the household. Raises InputError if much is cut."""
    ends = {c: [_ends(m, rules.cadence.seconds) for m in members] for c, members in meters.items()}
    decide = [c for c in ends if rules.span != "all" or c not in _AROUND] or list(ends)
    first = max(low for c in decide for low, _ in ends[c])
    last = min(high for c in decide for _, high in ends[c])
    if last <= first:
        raise UnusableError(f"{what}: no whole {rules.cadence.noun} in all of {sorted(meters)}")
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
                f"{what}: {late} begins {_utc(first, rules)}, {early} ends {_utc(last, rules)}: "
                f"taking what all channels have would cut {cut / whole:.1%} of {channel}: "
                "'--span common' cuts it, '--span all' lets panels and batteries count nothing "
                "where they have no readings"
            )
    return first, last


def _utc(row: int, rules: Rules) -> str:
    return f"{pd.Timestamp(row * rules.cadence.seconds, unit='s'):%Y-%m-%d %H:%M} UTC"


def _resolution(flows: Sequence[Series], row_s: int) -> int:
    """Return the minutes of the readings that are longer than a row, of most of them."""
    seconds = np.concatenate([s.seconds[s.coarse(row_s)] for s in flows])
    typical = float(np.median(seconds)) / 60
    return next(minutes for minutes in MINUTES if minutes >= typical)


def _phase(flows: Sequence[Series], minutes: int) -> int:
    """Return the minutes by which the readings of a source of so many lie off those of UTC."""
    coarse = max(flows, key=lambda s: float(np.median(s.seconds)))
    if len(np.unique(coarse.seconds)) > 4:  # irregular: no grid to be shifted against
        return 0
    shifts, counts = np.unique(coarse.start % (60 * minutes), return_counts=True)
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
        row_s = rules.cadence.seconds
        first = int(index[0].timestamp()) // row_s
        part = _together(meters[level], first, first + len(index), row_s, pad=False)
        cover = part.covered + part.long
        mean = part.total / np.maximum(cover / row_s, 1e-9)
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
    if longest > rules.cadence.of_hours(_HELD_HOURS):
        hours = longest * rules.cadence.hours
        account.doubt(f"{level} is missing for {hours:g} hours on end: the last one holds")
    if missing.any():
        account.held_levels[level] = int(missing.sum())
    # Weather and tariffs hold until the next value.
    return np.asarray(given.ffill().fillna(before), dtype=np.float64), int(missing.sum())


def _longest(true: Mask) -> int:
    """Return the length of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if edges.size else 0
