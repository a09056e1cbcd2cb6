"""What ``fedwatt status`` says of a household's folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

from common.processes import Facts, listens
from fl_client.control.record import OWN, RECORD, Record
from fl_client.home.clock import read_clock
from fl_client.host.client_file import read_client

_OLD_S = 60.0


def client_status(root: Path) -> Facts:
    """State of a household's folder."""
    file = read_client(root)
    facts: Facts = {"running": listens(file.port), "name": file.name, "server": file.server}
    database = root / "state" / "household.sqlite"
    if database.exists():
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            about = dict(db.execute("SELECT key, value FROM about"))
            newest, settled = db.execute(
                "SELECT max(t), max(CASE WHEN settled THEN t END) FROM intervals"
            ).fetchone()
            rounds = db.execute("SELECT max(round) FROM models").fetchone()[0]
        facts |= {
            "run": about.get("run"),
            "newest interval": newest,
            "settled up to": settled,
            "model of round": rounds,
        }
    if (root / RECORD).exists():
        facts |= _battery(root)
    return facts


def _battery(root: Path) -> Facts:
    """Who drives the battery, and why."""
    record = Record(root)
    found = record.snapshot()
    record.close()
    if found is None:
        return {}
    age_s = read_clock(root).now() - found.at
    why = found.why if age_s < _OLD_S else f"control has not run for {age_s / 60:.0f} minutes"
    state = found.state if age_s < _OLD_S else OWN
    return {"control": found.mode, "battery driven by": state, "because": why}
