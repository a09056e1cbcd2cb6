"""What new readings mean for a home's intervals: read from the store, written back to it."""

from collections.abc import Mapping, Sequence

from fl_client.home.intervals import CORRECTED, intervals
from fl_client.home.mapping import ENERGIES, Channel
from fl_client.home.registers import LIMIT_KW, Pieces, from_intervals, from_power, from_register
from fl_client.home.store import Series, Store

# So many readings before the first new one tell how often a meter speaks and how finely.
_BEFORE = 200


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
        pieces = [pieces_of(store, one, min(said), limit_kw) for one in meters]
        for meter, found in zip(meters, pieces, strict=True):
            for at, words in found.doubts:
                store.doubt(meter.name, at, words)
        length = minutes * 60
        # The reading before the first new one is where its energy begins to count; what was not
        # believed without the new ones is told for the first time.
        since = min(
            min(said), *(_believed_until(store, one, min(said), limit_kw) for one in meters)
        )
        earliest = min((_before(p, since) for p in pieces), default=since)
        first = int(earliest // length) * length
        rows = intervals(pieces, length, first, int(now) + 1)
        starts.update(store.put_intervals(role, minutes, rows, now, CORRECTED))
    return sorted(starts)


def _believed_until(store: Store, channel: Channel, time: float, limit_kw: float) -> float:
    """Up to when [s] a channel's readings from before ``time`` were believed without later ones."""
    if channel.kind in ("interval", "power"):
        return time
    series = store.series(channel.name, time, _BEFORE)
    old = series.measured < time
    if old.sum() < 2:
        return time
    known = from_register(series.measured[old], series.value[old], series.held[old], limit_kw)
    return min(known.known_until, time)


def _before(pieces: Pieces, time: float) -> float:
    """Beginning of the piece that ends at or after ``time`` [s]."""
    at = int(pieces.end.searchsorted(time))
    return float(pieces.begin[at]) if at < len(pieces.begin) else time


def pieces_of(store: Store, channel: Channel, since: float, limit_kw: float = LIMIT_KW) -> Pieces:
    """What a channel has told since ``since`` [s], and a while before, as energy over time."""
    series: Series = store.series(channel.name, since, _BEFORE)
    if channel.kind == "interval":
        length = 60 * channel.minutes
        begin = series.measured - (length if channel.stamp == "end" else 0.0)
        return from_intervals(begin, begin + length, series.value)
    if channel.kind == "power":
        return from_power(series.measured, series.value, limit_kw)
    return from_register(series.measured, series.value, series.held, limit_kw)
