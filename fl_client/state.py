"""A household's own durable state: one SQLite file that nobody else reads.

It holds what was measured, decided and settled, interval by interval, and the forecasts issued at
midnight. Writing is idempotent by interval: a row written twice is the same row.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from common.arrays import Floats, Ints
from common.errors import InputError
from common.files import whole

# One column a quantity; energy in kWh per interval, state at the end of the interval.
QUANTITIES = (
    "load",
    "pv",
    "charge",
    "discharge",
    "bought",
    "sold",
    "grid_import",
    "grid_export",
    "curtailed",
    "unserved",
    "soc",
    "soh",
    "cycles",
    "retail",
    "feed_in",
    "local_buy",
    "local_sell",
    "cost",
    "score",
    "need",
    "action",
    "reason",
    "forecast_load",
    "shadow_soc",
    "shadow_cost",
    "unaided_soc",
    "unaided_cost",
)

_TABLES = f"""
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS joined (id INTEGER PRIMARY KEY CHECK (id = 0), message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tariff (id INTEGER PRIMARY KEY CHECK (id = 0), parts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run_config (id INTEGER PRIMARY KEY CHECK (id = 0), text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS intervals (
    t INTEGER PRIMARY KEY, time TEXT NOT NULL, settled INTEGER NOT NULL,
    {", ".join(f"{name} REAL" for name in QUANTITIES)}
);
CREATE TABLE IF NOT EXISTS plans (
    t INTEGER PRIMARY KEY, plan BLOB NOT NULL, shadow BLOB NOT NULL, unaided BLOB
);
CREATE TABLE IF NOT EXISTS models (
    round INTEGER PRIMARY KEY, t INTEGER NOT NULL, digest TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS orders (t INTEGER PRIMARY KEY, orders BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS announced (
    t INTEGER PRIMARY KEY, bought INTEGER NOT NULL, sold INTEGER NOT NULL,
    paid INTEGER NOT NULL, received INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS allowed (
    t INTEGER PRIMARY KEY, milliwh INTEGER NOT NULL, scarcity INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS told (
    t INTEGER PRIMARY KEY, imported INTEGER NOT NULL, exported INTEGER NOT NULL,
    reply INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS statements (
    month TEXT PRIMARY KEY, text TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS heard (t INTEGER PRIMARY KEY, received_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS month_ahead (
    t INTEGER PRIMARY KEY, consumption BLOB NOT NULL, price BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS forecasts (
    t INTEGER NOT NULL, stream TEXT NOT NULL, "values" BLOB NOT NULL, PRIMARY KEY (t, stream)
);
"""
_OF_A_RUN = (
    "about", "intervals", "plans", "models", "orders", "announced", "allowed", "forecasts",
    "told", "statements", "heard", "month_ahead",
)  # fmt: skip
_VERSION = 9
"""Of the tables, kept as SQLite's user_version: 2 added ``allowed``, 3 named its energy by unit, 4
added ``told``, 5 export prices, 6 ``tariff``,
7 what a household would do without the shared model, 8 ``statements``, 9 what a forecast takes
between messages: ``run_config``, ``heard``, ``month_ahead``.

A new table or quantity needs a higher number and nothing else; a change of a column a line in
``_carry_over``.
"""
_COLUMNS = ", ".join(("t", "time", "settled", *QUANTITIES))
_PUT = (
    f"INSERT OR REPLACE INTO intervals ({_COLUMNS}) "
    f"VALUES ({', '.join('?' * (len(QUANTITIES) + 3))})"
)


_MOST_OPEN = 200
_MOST_KEPT = 100
# The states whose file is open in this process, the longest open first.
_opened: "dict[State, None]" = {}


class State:
    """Opens, or creates, ``DIR/household.sqlite``.

    ``durable`` commits reach the disk before they return (a deployment); otherwise they survive
    the process but not the machine (a simulation).
    """

    def __init__(self, directory: Path, *, durable: bool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "household.sqlite"
        self._durable = durable
        self._open: sqlite3.Connection | None = None
        self._carry_over()

    def _carry_over(self) -> None:
        """Bring the tables up to this release, in one go. Raises InputError for a newer file."""
        [version] = self._db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise InputError(
                f"{self.path}: written by a newer release (version {version}, this one reads up "
                f"to {_VERSION}); install that release again"
            )
        if version == _VERSION:
            return
        steps = [_TABLES]
        if "mwh" in self._columns("allowed"):
            steps.append("ALTER TABLE allowed RENAME COLUMN mwh TO milliwh;")
        had = self._columns("intervals")
        steps += [
            f"ALTER TABLE intervals ADD COLUMN {name} REAL;"
            for name in QUANTITIES
            if had and name not in had
        ]
        if "unaided" not in self._columns("plans") and self._columns("plans"):
            steps.append("ALTER TABLE plans ADD COLUMN unaided BLOB;")
        steps.append(f"PRAGMA user_version = {_VERSION};")
        self._db.executescript(f"BEGIN; {' '.join(steps)} COMMIT;")

    def _columns(self, table: str) -> list[str]:
        """Columns of a table, none where it does not exist."""
        return [str(row[1]) for row in self._db.execute(f"PRAGMA table_info({table})")]

    @property
    def _db(self) -> sqlite3.Connection:
        """The file, opened when it is needed: a process may hold thousands of households."""
        if self._open is None:
            while len(_opened) >= _MOST_OPEN:
                next(iter(_opened)).close()
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            # Both modes survive a killed process; only FULL survives a power cut as well.
            db.execute(f"PRAGMA journal_mode = {'WAL' if self._durable else 'TRUNCATE'}")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            _opened[self] = None
            self._open = db
        return self._open

    def close(self) -> None:
        """Close the file; it opens again by itself."""
        _opened.pop(self, None)
        if self._open is not None:
            self._open.close()
            self._open = None

    def about(self) -> dict[str, str]:
        """What the file says of itself."""
        return dict(self._db.execute("SELECT key, value FROM about"))

    def set_join(self, text: str) -> None:
        """Keep the coordinator's join message."""
        self._db.execute("INSERT OR REPLACE INTO joined VALUES (0, ?)", (text,))

    def join(self) -> str | None:
        """Return the join message last kept."""
        found = self._db.execute("SELECT message FROM joined").fetchone()
        return None if found is None else str(found[0])

    def set_tariff(self, parts: Mapping[str, float]) -> None:
        """Keep what the run's prices are made of, for whoever shows a bill by its lines."""
        self._db.execute("INSERT OR REPLACE INTO tariff VALUES (0, ?)", (json.dumps(parts),))

    def set_run_config(self, text: str) -> None:
        """Keep what the coordinator told of the run's settings, for who asks between messages."""
        self._db.execute("INSERT OR REPLACE INTO run_config VALUES (0, ?)", (text,))

    def run_config(self) -> str | None:
        """Return what was kept of the run's settings."""
        found = self._db.execute("SELECT text FROM run_config").fetchone()
        return None if found is None else str(found[0])

    def begin(self, about: Mapping[str, str], first: int) -> None:
        """Start or resume a run at interval ``first``: later rows are dropped.

        What the file holds of another run is kept beside it, under that run's name: a coordinator
        only has to name a run, and what it has announced before must stay provable. Raises
        InputError where too many runs are kept already.
        """
        there = self.about()
        if there and there != dict(about):
            self._set_aside(there.get("run", ""))
        with self._transaction():
            if there != dict(about):
                for table in _OF_A_RUN:
                    self._db.execute(f"DELETE FROM {table}")
                self._db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            self._db.execute("DELETE FROM intervals WHERE t >= ?", (first,))
            self._db.execute("DELETE FROM plans WHERE t >= ?", (first,))
            self._db.execute("DELETE FROM models WHERE t >= ?", (first,))
            # The newest decision is settled again: its fills come with the next request.
            self._db.execute("UPDATE intervals SET settled = 0 WHERE t = ?", (first - 1,))
            for table in ("forecasts", "orders", "announced", "allowed", "heard", "month_ahead"):
                self._db.execute(f"DELETE FROM {table} WHERE t >= ?", (first,))

    def _set_aside(self, run: str) -> None:
        """Copy the file to ``household-RUN.sqlite`` beside it, if anything was done in that run."""
        held = "SELECT EXISTS (SELECT 1 FROM intervals) OR EXISTS (SELECT 1 FROM announced)"
        if not self._db.execute(held).fetchone()[0]:
            return
        folder, stem = self.path.parent, self.path.stem
        if len(list(folder.glob(f"{stem}-*{self.path.suffix}"))) >= _MOST_KEPT:
            raise InputError(
                f"{folder}: records of {_MOST_KEPT} other runs are kept here; move them away "
                "before this household joins another"
            )
        name = re.sub(r"[^A-Za-z0-9_-]", "_", run)[:64] or "unnamed"
        target = self.path.with_stem(f"{stem}-{name}")
        for number in count(2):
            if not target.exists():
                break
            target = self.path.with_stem(f"{stem}-{name}-{number}")
        with whole(target, durable=self._durable) as part:
            self._db.execute("VACUUM INTO ?", (str(part),))

    def put(
        self,
        rows: Iterable[Sequence[object]],
        forecasts: Iterable[tuple[int, str, Floats]] = (),
        plan: tuple[int, Floats, Floats, Floats | None] | None = None,
        keep_plans_from: int = 0,
        orders: Ints | None = None,
        heard: tuple[int, float] | None = None,
    ) -> None:
        """Write, in one commit, interval rows (t, time, settled, *QUANTITIES) and what goes along.

        ``plan``: (t, the trader's plan, the shadow run's, that without the shared model). A plan
        is needed until its interval is settled for good, so older ones than ``keep_plans_from``
        are dropped.
        ``orders`` (M, 3) are those of the plan's interval, to be told again when asked again.
        ``heard``: (t, when the newest reading that its decision knew was received [s since 1970]).
        """
        with self._transaction():
            self._db.executemany(_PUT, rows)
            self._db.executemany(
                "INSERT OR REPLACE INTO forecasts VALUES (?, ?, ?)",
                [(t, stream, v.astype("<f4").tobytes()) for t, stream, v in forecasts],
            )
            if heard is not None:
                self._db.execute("DELETE FROM heard")
                self._db.execute("INSERT INTO heard VALUES (?, ?)", heard)
            if plan is not None:
                t, own, shadow, unaided = plan
                self._db.execute("DELETE FROM plans WHERE t < ?", (keep_plans_from,))
                self._db.execute(
                    "INSERT OR REPLACE INTO plans VALUES (?, ?, ?, ?)",
                    (
                        t,
                        *(
                            None if one is None else one.astype("<f8").tobytes()
                            for one in (own, shadow, unaided)
                        ),
                    ),
                )
                if orders is not None:
                    self._db.execute("DELETE FROM orders WHERE t < ?", (t,))
                    self._db.execute(
                        "INSERT OR REPLACE INTO orders VALUES (?, ?)",
                        (t, orders.astype("<i8").tobytes()),
                    )

    def orders(self, t: int) -> Ints | None:
        """Return the orders (M, 3) of interval ``t``, None where they are not kept."""
        found = self._db.execute("SELECT orders FROM orders WHERE t = ?", (t,)).fetchone()
        if found is None:
            return None
        return np.frombuffer(found[0], dtype="<i8").reshape(-1, 3).astype(np.int64)

    def announce(
        self,
        t: int,
        fill: tuple[int, int, int, int],
        allowance: tuple[int, int] | None = None,
    ) -> bool:
        """Keep what was traded for interval ``t``, and the allowance of it under a cap.

        False if it was told otherwise before.
        """
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO announced VALUES (?, ?, ?, ?, ?)", (t, *fill))
            if allowance is not None:
                self._db.execute("INSERT OR IGNORE INTO allowed VALUES (?, ?, ?)", (t, *allowance))
        return self.announced(t) == fill and self.allowed(t) == allowance

    def keep_statement(self, month: str, text: str, hash_: str, before: str) -> bool:
        """Keep a month's statement, which follows the one with hash ``before``.

        False where another was kept for it, or it does not follow the newest kept.
        """
        with self._transaction():
            kept = self.statements()
            if all(one != month for one, *_ in kept) and (not kept or kept[-1][2] == before):
                self._db.execute("INSERT INTO statements VALUES (?, ?, ?)", (month, text, hash_))
        return (month, text, hash_) in self.statements()

    def statements(self) -> list[tuple[str, str, str]]:
        """(Month, statement, its hash), in order of months."""
        return self._db.execute("SELECT * FROM statements ORDER BY month").fetchall()

    def announced(self, t: int) -> tuple[int, ...] | None:
        """Return (bought, sold [mWh], paid, received [micro]) announced for ``t``."""
        found = self._db.execute(
            "SELECT bought, sold, paid, received FROM announced WHERE t = ?", (t,)
        ).fetchone()
        return None if found is None else tuple(found)

    def allowed(self, t: int) -> tuple[int, ...] | None:
        """Return (mWh from the grid, scarcity price [micro per kWh]) announced for ``t``."""
        found = self._db.execute(
            "SELECT milliwh, scarcity FROM allowed WHERE t = ?", (t,)
        ).fetchone()
        return None if found is None else tuple(found)

    def tell(self, readings: Ints, reply: int) -> None:
        """Keep readings (K, 3), interval, import, export [mWh], told in the answer to ``reply``.

        They come from meters that may say otherwise later.
        """
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?)",
                [(*row, reply) for row in readings.tolist()],
            )

    def told(self, first: int) -> dict[int, tuple[int, int, int]]:
        """(Import, export [mWh], which answer told it) by interval from ``first`` on."""
        rows = self._db.execute("SELECT * FROM told WHERE t >= ?", (first,))
        return {t: (imported, exported, reply) for t, imported, exported, reply in rows}

    def plan(self, t: int) -> tuple[Floats, Floats, Floats | None] | None:
        """Return the trader's plan of interval ``t``, the shadow run's, and that without the shared
        model where it is kept.
        """
        found = self._db.execute(
            "SELECT plan, shadow, unaided FROM plans WHERE t = ?", (t,)
        ).fetchone()
        if found is None:
            return None
        own, shadow, unaided = (
            None if blob is None else np.frombuffer(blob, "<f8").copy() for blob in found
        )
        assert own is not None
        assert shadow is not None
        return own, shadow, unaided

    def put_model(self, round_: int, t: int, digest: str) -> None:
        """Note which weights the coordinator sent in a round, after interval ``t`` was decided."""
        self._db.execute("INSERT OR REPLACE INTO models VALUES (?, ?, ?)", (round_, t, digest))

    def model(self) -> str | None:
        """Digest of the newest weights received."""
        found = self._db.execute("SELECT digest FROM models ORDER BY round DESC LIMIT 1").fetchone()
        return None if found is None else str(found[0])

    def heard(self) -> float | None:
        """When the newest reading that the last decision knew was received [s since 1970]; None
        where its readings do not arrive."""
        found = self._db.execute("SELECT received_s FROM heard ORDER BY t DESC LIMIT 1").fetchone()
        return None if found is None else float(found[0])

    def put_month_ahead(self, t: int, consumption: Floats, price: Floats) -> None:
        """Keep the newest model's forecast of a month by half hours [kWh, per kWh], from the
        beginning of interval ``t`` on, in place of the one before."""
        with self._transaction():
            self._db.execute("DELETE FROM month_ahead")
            self._db.execute(
                "INSERT INTO month_ahead VALUES (?, ?, ?)",
                (t, *(one.astype("<f4").tobytes() for one in (consumption, price))),
            )

    def newest(self) -> int:
        """Newest interval decided, -1 where there is none."""
        found = self._db.execute("SELECT max(t) FROM intervals").fetchone()
        return -1 if found[0] is None else int(found[0])

    def oldest(self) -> int | None:
        """Oldest interval decided, None where there is none."""
        found = self._db.execute("SELECT min(t) FROM intervals").fetchone()[0]
        return None if found is None else int(found)

    def rows(self, first: int = 0) -> list[tuple[object, ...]]:
        """Interval rows from ``first`` on in order of time, in the layout of ``put``."""
        return self._db.execute(
            f"SELECT {_COLUMNS} FROM intervals WHERE t >= ? ORDER BY t", (first,)
        ).fetchall()

    def forecasts(self, first: int = 0) -> list[tuple[int, str, Floats]]:
        """Stored forecasts of intervals from ``first`` on, in order of time and stream."""
        rows = self._db.execute(
            "SELECT * FROM forecasts WHERE t >= ? ORDER BY t, stream", (first,)
        ).fetchall()
        return [
            (t, stream, np.frombuffer(blob, "<f4").astype(np.float64)) for t, stream, blob in rows
        ]

    def decided(self, before: int) -> int:
        """Number of intervals before ``before`` that the file has."""
        found = self._db.execute("SELECT count(*) FROM intervals WHERE t < ?", (before,))
        return int(found.fetchone()[0])

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
