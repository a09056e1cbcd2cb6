"""What ``fedwatt status`` says of a folder."""

from pathlib import Path

from common.processes import Facts, listens
from fl_server.host.folder import Folder
from fl_server.host.tls import days_left
from fl_server.host.view import look, progress


def server_status(root: Path) -> Facts:
    """State of a coordinator's folder."""
    folder = Folder(root)
    deployment, view = folder.deployment(), look(folder)
    status = view.status
    facts: Facts = {
        "running": view.alive,
        "superlink": listens(deployment.fleet_port),
        "admitted": len(view.admitted),
    }
    if not deployment.insecure:
        facts["certificate days left"] = round(days_left(folder.tls / "server.pem"), 1)
    if status:
        homes = status["households"]
        facts |= {
            "run": status["run"],
            "phase": status["phase"],
            "interval": progress(status),
            "model rounds": status["round"],
            "status age s": None if view.age_s is None else round(view.age_s, 1),
            "behind the clock s": status["lag_s"],
            "online": ", ".join(n for n, h in homes.items() if h["online"]) or "nobody",
            "away": ", ".join(n for n, h in homes.items() if not h["online"]) or "nobody",
            "not settled": ", ".join(f"{n} {h['owed']}" for n, h in homes.items() if h["owed"])
            or "nothing",
            "leaving": ", ".join(
                f"{n} ({h['member']})"
                for n, h in homes.items()
                if h.get("member") in ("leaving", "left")
            )
            or "nobody",
            "faults": status["faults"],
        }
    return facts
