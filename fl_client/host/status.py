"""What ``fedwatt status`` says of a household's folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

from common.processes import Facts, listens
from fl_client.host.client_file import read_client


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
    return facts
