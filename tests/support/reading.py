"""Read back what a run has left behind."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from fl_server.ledger import Ledger
from simulations.simulate import stored_settings


def ledger_rows(directory: Path) -> list[tuple[Any, ...]]:
    """Every row of the run's ledger, hashes included, in order."""
    settings = stored_settings(directory)
    reports = json.loads((directory / "reports.json").read_text())
    with Ledger(f"sqlite:///{directory / 'ledger.sqlite'}") as ledger:
        ledger.open_run(
            settings.digest(),
            sorted(reports["households"]),
            start=reports["start"],
            interval_minutes=settings.run.interval_minutes,
        )
        return [tuple(row) for row in ledger.rows()]


def summary(directory: Path) -> dict[str, Any]:
    """summary.json without its timing."""
    whole = json.loads((directory / "summary.json").read_text())
    del whole["timing"]
    return whole


def model(directory: Path) -> bytes:
    """The final model's bytes."""
    return (directory / "model" / "final.safetensors").read_bytes()


def intervals(directory: Path, household: str) -> list[dict[str, Any]]:
    """The household's own record of every interval."""
    with sqlite3.connect(directory / "households" / household / "household.sqlite") as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM intervals ORDER BY t")]


__all__ = ["intervals", "ledger_rows", "model", "summary"]
