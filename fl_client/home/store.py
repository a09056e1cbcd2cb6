"""What a home's meters have said, as it came, and what follows for its intervals: one SQLite file.

A reading has two times: when it was measured and when it was received; nothing is known before it
was received. Nothing is overwritten: another value for the same time is a newer row, and the newest
holds. One process writes (the meters' daemon); others read, at any time.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STORE = "meters.sqlite"
"""Its name in a household's folder."""
OWN, ARRIVAL, HELD, STATISTIC = "own", "arrival", "held", "statistic"
"""Quality of a reading: stamped by the meter; by its arrival; only repeated; a source's summary."""
_QUALITIES = (OWN, ARRIVAL, HELD, STATISTIC)

_TABLES = """
CREATE TABLE IF NOT EXISTS channels (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS readings (
    channel INTEGER NOT NULL, measured_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    value REAL NOT NULL, quality INTEGER NOT NULL,
    PRIMARY KEY (channel, measured_ms, received_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ahead (
    channel INTEGER NOT NULL, stamp_ms INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (channel, stamp_ms, value)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intervals (
    role TEXT NOT NULL, minutes INTEGER NOT NULL, start INTEGER NOT NULL,
    received_ms INTEGER NOT NULL, kwh REAL NOT NULL, kind TEXT NOT NULL,
    PRIMARY KEY (role, minutes, start, received_ms)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrived ON intervals (received_ms);
CREATE TABLE IF NOT EXISTS cursors (channel TEXT PRIMARY KEY, cursor TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS doubts (
    channel TEXT NOT NULL, at_ms INTEGER NOT NULL, words TEXT NOT NULL, PRIMARY KEY (channel, at_ms)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sources (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, since_ms INTEGER NOT NULL
);
"""
_KWH_TOLERANCE = 5e-7
# Of a meter that speaks every second hours would be read each second: of so many an hour is enough.
_MANY, _HOUR_MS = 2000, 3_600_000
# How long a value that is only repeated is looked through for the reading that it repeats.
_OLDEST_MS = 8 * 86_400_000
# Clocks differ by less.
_AHEAD_S = 1.0

Floats = NDArray[np.float64]


class Reading(NamedTuple):
    """What a channel said: ``measured`` and ``received`` [s since 1970], ``value`` in kWh, kW or
    a fraction. ``stamp`` [s since 1970]: of the source, where its clock is ahead of ours and
    ``measured`` is not its own."""

    channel: str
    measured: float
    received: float
    value: float
    quality: str
    stamp: float | None = None


class Series(NamedTuple):
    """(n,) readings of one channel in order of time, the newest for each time."""

    measured: Floats
    value: Floats
    held: NDArray[np.bool_]


class Metered(NamedTuple):
    """Energy of an interval [kWh] as known since ``received`` [s]; ``start`` [s since 1970]."""

    start: int
    kwh: float
    kind: str
    received: float


class Store:
    """Opens ``FILE``; makes it where it may be written."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode = WAL")
            # Only FULL survives a power cut: a message is acknowledged when it is on disk.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_TABLES)
        else:
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
        self._ids: dict[str, int] = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ---- readings -----------------------------------------------------------------------------

    def put(
        self, readings: Iterable[Reading], cursors: Iterable[tuple[str, str]] = ()
    ) -> dict[str, float]:
        """Keep readings, and how far their sources have been read, in one commit.

        Returns, by channel, the earliest time [s] for which something new was said.
        """
        new: dict[str, float] = {}
        with self._transaction():
            for one in readings:
                if self._keep(one):
                    kept = _ms(one.measured) / 1000  # as it is read back
                    new[one.channel] = min(new.get(one.channel, kept), kept)
            self._db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", cursors)
        return new

    def _keep(self, one: Reading) -> bool:
        channel, at = self._channel(one.channel), _ms(one.measured)
        if self._repeats(channel, one):
            return False
        said = self._db.execute(
            "SELECT value FROM readings WHERE channel = ? AND measured_ms = ? "
            "ORDER BY received_ms DESC LIMIT 1", (channel, at),
        ).fetchone()  # fmt: skip
        if said is not None and (said[0] == one.value or one.quality == HELD):
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?)",
            (channel, at, _ms(one.received), one.value, _QUALITIES.index(one.quality)),
        )
        return True

    def _repeats(self, channel: int, one: Reading) -> bool:
        """Whether it was heard before with a stamp that was ahead then: sources that are asked
        again say again what they have said, and each time it would be measured anew. One that is
        ahead for the first time is remembered."""
        if one.quality == HELD:
            return False
        stamp = one.measured if one.stamp is None else one.stamp
        row = channel, _ms(stamp), one.value
        found = self._db.execute(
            "SELECT 1 FROM ahead WHERE channel = ? AND stamp_ms = ? AND value = ?", row
        ).fetchone()
        if found is None and stamp - one.received > _AHEAD_S:
            self._db.execute("INSERT INTO ahead VALUES (?, ?, ?)", row)
        return found is not None

    def _channel(self, name: str) -> int:
        if name not in self._ids:
            query = "SELECT id FROM channels WHERE name = ?"
            found = self._db.execute(query, (name,)).fetchone()
            if found is None:
                self._db.execute("INSERT INTO channels (name) VALUES (?)", (name,))
                found = self._db.execute(query, (name,)).fetchone()
            self._ids[name] = int(found[0])
        return self._ids[name]

    def _known(self, name: str) -> int:
        found = self._db.execute("SELECT id FROM channels WHERE name = ?", (name,)).fetchone()
        return -1 if found is None else int(found[0])

    def series(
        self,
        channel: str,
        since: float,
        before: int = 0,
        before_s: float = 0.0,
        known_at: float | None = None,
    ) -> Series:
        """Readings of ``channel`` from ``since`` [s] on, and older ones.

        Of those the last ``before``. With ``before_s`` as many that were not only repeated, and all
        of that time, or an hour of it where that is thousands, back to one that was not repeated.
        None is older than eight days. ``known_at`` [s]: as they were known then.
        """
        limit = 2**62 if known_at is None else _ms(known_at)
        begin = self._begin(self._known(channel), limit, _ms(since), before, _ms(before_s))
        rows = self._db.execute(
            "SELECT measured_ms, value, quality FROM readings WHERE channel = ? "
            "AND measured_ms >= ? AND received_ms <= ? ORDER BY measured_ms, received_ms",
            (self._known(channel), begin, limit),
        ).fetchall()  # fmt: skip
        table = np.array(rows, dtype=np.float64).reshape(-1, 3)
        newest = np.append(np.diff(table[:, 0]) > 0, True)[: len(table)]
        table = table[newest]
        return Series(table[:, 0] / 1000, table[:, 1], table[:, 2] == _QUALITIES.index(HELD))

    def _begin(self, number: int, limit: int, since: int, before: int, before_ms: int) -> int:
        """Where [ms] a series begins that reaches back from ``since`` [ms]; see ``series``."""
        older = (
            "FROM readings WHERE channel = ? AND received_ms <= ? AND measured_ms < ? "
            "AND measured_ms >= ?"
        )
        ends = number, limit, since, since - _OLDEST_MS

        def told(what: str, *values: int) -> int | None:
            row = self._db.execute(f"SELECT {what}", values).fetchone()
            return None if row is None else row[0]

        def back(count: int, spoken: str = "") -> int | None:
            last = f"measured_ms {older} {spoken} ORDER BY measured_ms DESC LIMIT 1 OFFSET ?"
            return told(last, *ends, count)

        oldest = told(f"min(measured_ms) {older}", *ends) if before else None
        if oldest is None:
            return since
        if not before_ms:
            return back(before - 1) or oldest
        spoken = f"AND quality != {_QUALITIES.index(HELD)}"
        reach = min(max(since - before_ms, back(_MANY) or oldest), since - _HOUR_MS)
        reached = told(f"max(measured_ms) {older} {spoken} AND measured_ms <= ?", *ends, reach)
        return min(back(before - 1, spoken) or oldest, reached or oldest)

    def newest(self, channel: str, known_at: float | None = None) -> Reading | None:
        """The reading with the latest time of measurement, if any (a level, or for a look)."""
        limit = 2**62 if known_at is None else _ms(known_at)
        row = self._db.execute(
            "SELECT measured_ms, received_ms, value, quality FROM readings WHERE channel = ? "
            "AND received_ms <= ? ORDER BY measured_ms DESC, received_ms DESC LIMIT 1",
            (self._known(channel), limit),
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        return Reading(channel, row[0] / 1000, row[1] / 1000, row[2], _QUALITIES[row[3]])

    def cursor(self, channel: str) -> str | None:
        """How far a channel's source has been read, in the source's own words."""
        row = self._db.execute(
            "SELECT cursor FROM cursors WHERE channel = ?", (channel,)
        ).fetchone()
        return None if row is None else str(row[0])

    def forget(self, channel: str, before: float, *, newest: bool = True) -> None:
        """Drop readings measured before ``before`` [s], the ``newest`` too unless it holds until
        another is told; what followed from them stays."""
        key, until = self._known(channel), _ms(before)
        if not newest:
            (last,) = self._db.execute(
                "SELECT max(measured_ms) FROM readings WHERE channel = ?", (key,)
            ).fetchone()
            until = until if last is None else min(until, last)
        self._db.execute("DELETE FROM readings WHERE channel = ? AND measured_ms < ?", (key, until))
        self._db.execute("DELETE FROM ahead WHERE channel = ? AND stamp_ms < ?", (key, _ms(before)))

    # ---- intervals ----------------------------------------------------------------------------

    def put_intervals(
        self,
        role: str,
        minutes: int,
        rows: Sequence[tuple[int, float, str]],
        received: float,
        corrected: str,
    ) -> list[int]:
        """Keep what is known of intervals (start, kwh, kind) since ``received`` [s].

        What has been said before is not said again; another energy than before is of the kind
        ``corrected``. The same energy may be less sure, or surer, than it was. Returns the starts
        of those that are new.
        """
        if not rows:
            return []
        said = {
            one.start: one for one in self.intervals(role, minutes, rows[0][0], rows[-1][0] + 1)
        }
        new = []
        with self._transaction():
            for start, kwh, kind in rows:
                before = said.get(start)
                same = before is not None and abs(before.kwh - kwh) <= _KWH_TOLERANCE
                if before is not None and same and before.kind in (kind, corrected):
                    continue
                self._db.execute(
                    "INSERT OR REPLACE INTO intervals VALUES (?, ?, ?, ?, ?, ?)",
                    (role, minutes, start, _ms(received), kwh,
                     kind if before is None or same else corrected),
                )  # fmt: skip
                new.append(start)
        return new

    def intervals(
        self, role: str, minutes: int, first: int, end: int, known_at: float | None = None
    ) -> list[Metered]:
        """Newest knowledge of a role's intervals that start in [first, end) [s since 1970]."""
        limit = 2**62 if known_at is None else _ms(known_at)
        rows = self._db.execute(
            "SELECT start, kwh, kind, max(received_ms) FROM intervals WHERE role = ? "
            "AND minutes = ? AND start >= ? AND start < ? AND received_ms <= ? "
            "GROUP BY start ORDER BY start", (role, minutes, first, end, limit),
        )  # fmt: skip
        return [Metered(start, kwh, kind, ms / 1000) for start, kwh, kind, ms in rows]

    def copy_intervals(self, target: Path, known_at: float) -> None:
        """Write into a new store what was known of all intervals at ``known_at`` [s]."""
        rows = self._db.execute("SELECT * FROM intervals WHERE received_ms <= ?", (_ms(known_at),))
        copy = Store(target, write=True)
        try:
            with copy._transaction():
                copy._db.executemany("INSERT INTO intervals VALUES (?, ?, ?, ?, ?, ?)", rows)
        finally:
            copy.close()

    def span(self, role: str, minutes: int) -> tuple[int, int] | None:
        """First and last start of a role's intervals, None where there are none."""
        low, high = self._db.execute(
            "SELECT min(start), max(start) FROM intervals WHERE role = ? AND minutes = ?",
            (role, minutes),
        ).fetchone()  # fmt: skip
        return None if low is None else (low, high)

    # ---- what to think of it ------------------------------------------------------------------

    def doubt(self, channel: str, at: float, words: str) -> None:
        """Note something that the meter said wrongly at ``at`` [s]."""
        self._db.execute(
            "INSERT OR REPLACE INTO doubts VALUES (?, ?, ?)", (channel, _ms(at), words)
        )

    def doubts(self, since: float) -> list[tuple[str, float, str]]:
        """(Channel, time, words) of doubts from ``since`` [s] on."""
        rows = self._db.execute(
            "SELECT channel, at_ms, words FROM doubts WHERE at_ms >= ? ORDER BY at_ms",
            (_ms(since),),
        )
        return [(channel, ms / 1000, words) for channel, ms, words in rows]

    def set_state(self, source: str, state: str, now: float) -> None:
        """Note how a source is doing."""
        self._db.execute(
            "INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", (source, state, _ms(now))
        )

    def states(self) -> dict[str, tuple[str, float]]:
        """(State, since when) of every source."""
        rows = self._db.execute("SELECT name, state, since_ms FROM sources ORDER BY name")
        return {name: (state, ms / 1000) for name, state, ms in rows}

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
