"""What there is to see of a coordinator's folder, read from the files of its run."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from common.files import read_json
from common.schema_ledger import accounts, postings, runs
from fl_server.host.folder import Folder, alive
from fl_server.host.members import read_members
from fl_server.ledger import COMMUNITY
from fl_server.run_files import INTERVALS, ROUNDS, ledger_url, read_lines

_DAY = 48


@dataclass(frozen=True)
class View:
    """The folder's status file, the lines of intervals and rounds, and bills.

    ``bills``: per household, what it owes (+) or has earned [currency] today and in all.
    ``alive``: whether a coordinator holds the folder. ``age_s``: age of the status.
    """

    status: dict[str, Any]
    intervals: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    bills: dict[str, tuple[float, float]] = field(default_factory=dict)
    admitted: list[str] = field(default_factory=list)
    alive: bool = False
    age_s: float | None = None


def look(folder: Folder) -> View:
    """Read a folder as it is now; works while a run goes on."""
    status = read_json(folder.status)
    intervals = read_lines(folder.run / INTERVALS)
    return View(
        status,
        intervals,
        read_lines(folder.run / ROUNDS),
        _bills(folder, intervals),
        sorted(read_members(folder.members).values()),
        alive(folder),
        time.time() - float(status["time"]) if "time" in status else None,
    )


def _bills(folder: Folder, intervals: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """Settled money per household, today (UTC, of the run's own calendar) and in all."""
    live = read_json(folder.live)
    url = ledger_url(folder.settings(), folder.run)
    if not live or (url.startswith("sqlite") and not (folder.run / "ledger.sqlite").exists()):
        return {}
    midnight = 0
    if intervals:
        newest = int(intervals[-1]["interval"])
        day = datetime.fromisoformat(str(intervals[-1]["time"])).astimezone(UTC)
        midnight = max(newest - 2 * day.hour - day.minute // 30, 0)
    owed = postings.c.money_out_micro - postings.c.money_in_micro
    today = sa.case((postings.c.interval >= midnight, owed), else_=0)
    query = (
        sa.select(accounts.c.name, sa.func.sum(today), sa.func.sum(owed))
        .join(runs, runs.c.run == accounts.c.run)
        .join(
            postings,
            (postings.c.run == accounts.c.run) & (postings.c.account == accounts.c.account),
        )
        .where(runs.c.name == live["run"], accounts.c.account >= len(COMMUNITY))
        .group_by(accounts.c.name)
        .order_by(accounts.c.name)
    )
    engine = sa.create_engine(url)
    try:
        with engine.connect() as db:
            return {name: (int(a) / 1e6, int(b) / 1e6) for name, a, b in db.execute(query)}
    finally:
        engine.dispose()
