"""What ``fedwatt status`` says of a folder."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psutil

from fl_server.deployment import Folder
from simulations.deploy.client import read_client
from simulations.deploy.tls import days_left
from simulations.deploy.view import look

Facts = dict[str, str | int | float | bool | None]


def server_status(root: Path) -> Facts:
    """State of a coordinator's folder."""
    folder = Folder(root)
    deployment, view = folder.deployment(), look(folder)
    status = view.status
    facts: Facts = {
        "running": view.alive,
        "superlink": _listens(deployment.fleet_port),
        "admitted": len(view.admitted),
    }
    if not deployment.insecure:
        facts["certificate days left"] = round(days_left(folder.tls / "server.pem"), 1)
    if status:
        homes = status["households"]
        facts |= {
            "run": status["run"],
            "phase": status["phase"],
            "interval": f"{status['interval']} of {status['intervals']}",
            "model rounds": status["round"],
            "status age s": None if view.age_s is None else round(view.age_s, 1),
            "behind the clock s": status["lag_s"],
            "online": ", ".join(n for n, h in homes.items() if h["online"]) or "nobody",
            "away": ", ".join(n for n, h in homes.items() if not h["online"]) or "nobody",
            "not settled": ", ".join(f"{n} {h['owed']}" for n, h in homes.items() if h["owed"])
            or "nothing",
            "faults": status["faults"],
        }
    return facts


def client_status(root: Path) -> Facts:
    """State of a household's folder."""
    file = read_client(root)
    facts: Facts = {"running": _listens(file.port), "name": file.name, "server": file.server}
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


def _listens(port: int) -> bool:
    """Whether a process of this host listens on a port."""
    return any(
        connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
        for connection in psutil.net_connections("inet")
    )
