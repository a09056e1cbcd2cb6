"""What the battery's control knows, has done and is told by people: ``HOME/control.sqlite``.

The control process writes the snapshot and the log; whoever speaks for the people of the house (a
page, a switch, a command) writes the override; all may read at any time. Times are seconds since
1970 of the home's clock (``fl_client.home.clock``).
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

RECORD = "control.sqlite"

NONE, OBSERVE, SHADOW, COMMAND = "none", "observe", "shadow", "command"
MODES = (NONE, OBSERVE, SHADOW, COMMAND)
"""What control does: nothing; read the battery; also log what it would command; command it."""

OWN, STEERING, OVERRIDDEN = "own", "steering", "override"
"""Who drives the battery: its inverter by itself; control; its inverter, as people have asked."""

TAKE, SETPOINT, FOLLOW = "take", "setpoint", "follow"
HAND_BACK, NOTE = "hand back", "note"

KEEP_DAYS = 400
_DAY_S = 86400.0

_TABLES = """
CREATE TABLE IF NOT EXISTS now (id INTEGER PRIMARY KEY CHECK (id = 0), snapshot TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS override (
    id INTEGER PRIMARY KEY CHECK (id = 0), since_ms INTEGER NOT NULL, until_ms INTEGER,
    who TEXT NOT NULL, why TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS commands (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, command TEXT NOT NULL,
    kw REAL, sent INTEGER NOT NULL, reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS commanded ON commands (at_ms);
CREATE TABLE IF NOT EXISTS debt (id INTEGER PRIMARY KEY CHECK (id = 0), since_ms INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Plan:
    """The interval that runs, seen from the plan; energies [kWh] at the battery's terminals or the
    house, charging and consumption positive.

    start, end [s]. target_kwh: what the battery does in the whole interval by the plan's recourse,
    as known now. battery_kwh: what it has done of it. net_kwh: load less PV counted so far.
    rest_kwh: load less PV expected until the end. bought_kwh, sold_kwh: the interval's fills.
    retail, feed_in: the grid's prices per kWh.
    """

    start: float
    end: float
    target_kwh: float
    battery_kwh: float
    net_kwh: float
    rest_kwh: float
    bought_kwh: float = 0.0
    sold_kwh: float = 0.0
    retail: float | None = None
    feed_in: float | None = None


@dataclass(frozen=True)
class Override:
    """The inverter's own mode, as people have asked: since when, until when (None: until it is
    ended), who asked, and why."""

    since: float
    until: float | None
    who: str
    why: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What control knows and does at one moment.

    at [s]. mode: of MODES. state: OWN, STEERING or OVERRIDDEN. why: one sentence for people.
    setpoint_kw: what is commanded, or would be in shadow mode; charging positive, None where
    nothing is. follow_kw: the power at the connection, import positive, that the inverter is told
    to hold by itself instead; ``setpoint_kw`` is then what the battery does for it now. sent_at
    [s]: when it was last sent. battery_kw (charging positive), grid_kw (import positive), house_kw
    (load less PV), soc (fraction): as measured, None where unknown. age_s: of the oldest of these
    readings. plan: None without one. charge_kw, discharge_kw, soc_min, soc_max: limits that hold
    now. faults: what is wrong with the battery or its readings, one sentence each.
    """

    at: float
    mode: str
    state: str
    why: str
    setpoint_kw: float | None = None
    follow_kw: float | None = None
    sent_at: float | None = None
    battery_kw: float | None = None
    grid_kw: float | None = None
    house_kw: float | None = None
    soc: float | None = None
    age_s: float | None = None
    plan: Plan | None = None
    override: Override | None = None
    charge_kw: float | None = None
    discharge_kw: float | None = None
    soc_min: float | None = None
    soc_max: float | None = None
    faults: tuple[str, ...] = ()


class Command(NamedTuple):
    """A line of the log. ``command``: TAKE, SETPOINT, FOLLOW, HAND_BACK, or NOTE (nothing was sent,
    it says what happened). ``kw``: of a setpoint, charging positive, or what the inverter is to
    hold at the grid's connection, import positive. ``sent``: False in shadow mode, and where it
    could not be sent."""

    number: int
    at: float
    command: str
    kw: float | None
    sent: bool
    reason: str


class Record:
    """``HOME/control.sqlite`` of the household in folder ``home``; made where it is missing."""

    def __init__(self, home: Path) -> None:
        self.path = home / RECORD
        self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode = WAL")
        # A power cut may cost the last lines; a battery falls back by itself then.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_TABLES)
        self.path.chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def snapshot(self) -> Snapshot | None:
        """What control knew last; None before it has run."""
        row = self._db.execute("SELECT snapshot FROM now").fetchone()
        return None if row is None else _snapshot(json.loads(row[0]))

    def put(self, snapshot: Snapshot) -> None:
        """Replace the snapshot."""
        parts = {
            name: None if part is None else vars(part)
            for name, part in (("plan", snapshot.plan), ("override", snapshot.override))
        }
        text = json.dumps({**vars(snapshot), **parts}, allow_nan=False)
        self._db.execute("INSERT OR REPLACE INTO now VALUES (0, ?)", (text,))

    def override(self, now: float) -> Override | None:
        """The override that holds at ``now`` [s], if any."""
        row = self._db.execute("SELECT since_ms, until_ms, who, why FROM override").fetchone()
        if row is None or (row[1] is not None and row[1] <= _ms(now)):
            return None
        since, until, who, why = row
        return Override(since / 1000, None if until is None else until / 1000, who, why)

    def set_override(
        self, now: float, until: float | None = None, who: str = "", why: str = ""
    ) -> Override:
        """Leave the battery to its inverter from ``now`` until ``until`` [s], None: until it is
        ended. Control hands it back once and then writes nothing."""
        self._db.execute(
            "INSERT OR REPLACE INTO override VALUES (0, ?, ?, ?, ?)",
            (_ms(now), None if until is None else _ms(until), who, why),
        )
        return Override(now, until, who, why)

    def clear_override(self) -> bool:
        """End the override; whether there was one."""
        return self._db.execute("DELETE FROM override").rowcount > 0

    def owe(self, now: float) -> None:
        """The battery is about to be taken at ``now`` [s]: whoever controls it next, in whatever
        mode, owes it to its inverter."""
        self._db.execute("INSERT OR REPLACE INTO debt VALUES (0, ?)", (_ms(now),))

    def settle(self) -> None:
        """The battery was handed back."""
        self._db.execute("DELETE FROM debt")

    @property
    def owed(self) -> bool:
        """Whether the battery was taken and not handed back."""
        return self._db.execute("SELECT 1 FROM debt").fetchone() is not None

    def log(
        self, at: float, command: str, reason: str, kw: float | None = None, *, sent: bool = False
    ) -> int:
        """Add a line to the log; returns its number."""
        added = self._db.execute(
            "INSERT INTO commands (at_ms, command, kw, sent, reason) VALUES (?, ?, ?, ?, ?)",
            (_ms(at), command, kw, int(sent), reason),
        )
        assert added.lastrowid is not None
        return added.lastrowid

    def sent(self, number: int) -> None:
        """A command that was written down before was sent."""
        self._db.execute("UPDATE commands SET sent = 1 WHERE number = ?", (number,))

    def commands(self, since: float = 0.0, most: int = 100) -> list[Command]:
        """The newest ``most`` lines of the log from ``since`` [s] on, the newest first."""
        rows = self._db.execute(
            "SELECT number, at_ms, command, kw, sent, reason FROM commands WHERE at_ms >= ? "
            "ORDER BY number DESC LIMIT ?", (_ms(since), most),
        )  # fmt: skip
        return [Command(n, ms / 1000, what, kw, bool(sent), why)
                for n, ms, what, kw, sent, why in rows]  # fmt: skip

    def forget(self, now: float) -> None:
        """Drop lines of the log that are older than ``KEEP_DAYS``."""
        self._db.execute("DELETE FROM commands WHERE at_ms < ?", (_ms(now - KEEP_DAYS * _DAY_S),))


def owed(home: Path) -> bool:
    """Whether the battery of the household in folder ``home`` was taken and not handed back."""
    if not (home / RECORD).exists():
        return False
    with closing(Record(home)) as record:
        return record.owed


def _snapshot(plain: dict[str, Any]) -> Snapshot:
    plan, override = plain.pop("plan"), plain.pop("override")
    return Snapshot(
        **{**plain, "faults": tuple(plain["faults"])},
        plan=None if plan is None else Plan(**plan),
        override=None if override is None else Override(**override),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
