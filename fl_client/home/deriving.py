"""What new readings mean for a home's intervals: read from the store, written back to it."""

from collections.abc import Mapping, Sequence

from fl_client.home.intervals import CORRECTED, intervals
from fl_client.home.mapping import ENERGIES, Channel
from fl_client.home.registers import LIMIT_KW, Pieces, from_intervals, from_power, from_register
from fl_client.home.store import Series, Store

# So many readings before the first new one, and so long before, tell how often a meter speaks and
# how finely, though many came at once.
_BEFORE, _BEFORE_S = 200, 6 * 3600.0


def derive(
    store: Store,
    channels: Sequence[Channel],
    minutes: int,
    new: Mapping[str, float],
    now: float,
    limit_kw: float = LIMIT_KW,
) -> list[int]:
    """Write the intervals of ``minutes`` that the ``new`` readings tell about; return their starts.

    ``new``: by channel the earliest time [s] for which something was said. ``now``: when this is
    known [s].
    """
    starts: set[int] = set()
    for role in ENERGIES:
        meters = [one for one in channels if one.role == role]
        said = [new[one.name] for one in meters if one.name in new]
        if not said:
            continue
        said_from = min(said)
        series, pieces = _told(store, meters, said_from, limit_kw)
        # Told again is what new readings make something else of, and for the first time what was
        # not believed without them; a series that begins in the midst is not understood at once.
        understood = max(_understood_from(told, said_from) for told in series)
        believed = min(
            _believed_until(one, told, said_from, limit_kw)
            for one, told in zip(meters, series, strict=True)
        )
        earliest = min(_before(p, believed) for p in pieces)
        length = minutes * 60
        needed = int(earliest // length) * length
        first = min(needed, int(understood // length) * length)
        if any(len(told.measured) and told.measured[0] > needed for told in series):
            # One meter of the role was silent for longer than the others are read.
            _, pieces = _told(store, meters, needed, limit_kw)
        for meter, found in zip(meters, pieces, strict=True):
            for at, words in found.doubts:
                store.doubt(meter.name, at, words)
        rows = intervals(pieces, length, first, int(now) + 1)
        starts.update(store.put_intervals(role, minutes, rows, now, CORRECTED))
    return sorted(starts)


def _told(
    store: Store, meters: Sequence[Channel], since: float, limit_kw: float
) -> tuple[list[Series], list[Pieces]]:
    """What each of ``meters`` has said since ``since`` [s] and a while before, and its pieces."""
    series = [store.series(one.name, since, _BEFORE, _BEFORE_S) for one in meters]
    return series, [_pieces(one, told, limit_kw) for one, told in zip(meters, series, strict=True)]


def _understood_from(series: Series, time: float) -> float:
    """From when [s] on readings before ``time`` tell the same whatever came before them."""
    begin = min(float(series.measured[0]), time) if len(series.measured) else time
    return begin + (time - begin) / 4


def _believed_until(channel: Channel, series: Series, time: float, limit_kw: float) -> float:
    """Up to when [s] readings from before ``time`` are believed without later ones."""
    old = series.measured < time
    if channel.kind in ("interval", "power") or old.sum() < 2:
        return time
    older = Series(series.measured[old], series.value[old], series.held[old])
    return min(_pieces(channel, older, limit_kw).known_until, time)


def _before(pieces: Pieces, time: float) -> float:
    """Beginning of the piece that ends at or after ``time`` [s]."""
    at = int(pieces.end.searchsorted(time))
    return float(pieces.begin[at]) if at < len(pieces.begin) else time


def pieces_of(store: Store, channel: Channel, since: float, limit_kw: float = LIMIT_KW) -> Pieces:
    """What a channel has told since ``since`` [s], and a while before, as energy over time."""
    return _pieces(channel, store.series(channel.name, since, _BEFORE), limit_kw)


def _pieces(channel: Channel, series: Series, limit_kw: float) -> Pieces:
    if channel.kind == "interval":
        length = 60 * channel.minutes
        begin = series.measured - (length if channel.stamp == "end" else 0.0)
        return from_intervals(begin, begin + length, series.value)
    if channel.kind == "power":
        return from_power(series.measured, series.value, limit_kw)
    return from_register(series.measured, series.value, series.held, limit_kw)
