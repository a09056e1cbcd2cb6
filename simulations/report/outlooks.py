"""What households of a run expect where it stands: outlooks, and what the month should cost.

Read from a copy of the households' files, so that a run is never changed by being looked at.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from common.config import Settings, load
from common.data.source import source_of
from common.errors import InputError
from fl_client.host.books import opened_file
from fl_client.host.forecast import HomeOutlook, expected_bill
from fl_client.host.month_bill import MonthBill
from fl_client.outlook import outlook_of
from fl_client.session import Sessions, price_parts
from simulations.engine.loop import client_context
from simulations.report.run import Run
from simulations.simulate import CONFIG_FILE, told_config

MOST_HOMES = 50
"""Of a run whose report tells what the month should cost."""
_HOMES, _RECORDS, _MODELS = "households", "household.sqlite", ".models"


def outlook_in(run: Path, household: str = "") -> HomeOutlook:
    """The outlook of a household of the run in folder ``run``; of its first where none is named.

    Raises InputError where the folder holds no run, or the household no model.
    """
    if not (run / CONFIG_FILE).is_file():
        raise InputError(
            f"{run}: neither a run (no {CONFIG_FILE}; fedwatt simulate makes one) nor a "
            "household's own folder"
        )
    settings = load(str(run / CONFIG_FILE))
    names = source_of(settings).names()
    name = household or names[0]
    if name not in names:
        raise InputError(f"--household {name!r}: not in {run}; there are {', '.join(names)}")
    if not (run / _HOMES / name / _RECORDS).is_file():
        raise InputError(f"{run}: household {name} has not begun this run; simulate goes first")
    [made] = outlooks_in(run, settings, [name])
    if made is None:
        raise InputError(
            f"household {name}: it has no model to forecast with; a run with fl.enabled=true "
            "or model.init gives it one"
        )
    return made


def month_bills(run: Run) -> dict[str, MonthBill]:
    """What this month should cost the households of a finished run, by name.

    Of those that hold a model. Nothing for runs of more than MOST_HOMES, whose models would have
    to be asked one by one, and where the run's data are not there any more.
    """
    who = list(run.households)
    if not 0 < len(who) <= MOST_HOMES or not any(map(_has_model, run.households.values())):
        return {}
    try:
        made = outlooks_in(run.path, load(str(run.path / CONFIG_FILE)), who)
    except InputError:
        return {}
    return {
        name: one.bill
        for name, one in zip(who, made, strict=True)
        if one is not None and one.bill is not None
    }


def _has_model(records: Path) -> bool:
    """Whether a household has received one; not in what is no record of this release."""
    try:
        with closing(sqlite3.connect(f"file:{records}?mode=ro", uri=True)) as db:
            return db.execute("SELECT 1 FROM models LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return False


def outlooks_in(run: Path, settings: Settings, who: Sequence[str]) -> list[HomeOutlook | None]:
    """The outlooks of the households named, in their order; None for those without a model.

    Raises InputError where their data are not there any more, or too short.
    """
    names = source_of(settings).names()
    with tempfile.TemporaryDirectory(prefix="fedwatt-forecast-") as folder:
        copy = Path(folder)
        for name in (*who, _MODELS):
            if (run / _HOMES / name).is_dir():
                shutil.copytree(run / _HOMES / name, copy / _HOMES / name)
        told = told_config(settings, copy)
        sessions = Sessions()
        try:
            session = sessions.open(
                [client_context(0, names.index(name), len(names), told) for name in who]
            )
            made: list[HomeOutlook | None] = []
            for h, name in enumerate(who):
                found = outlook_of(session, h)
                if found is None:
                    made.append(None)
                    continue
                zone = found.begins.tzinfo
                with opened_file(run / _HOMES / name / _RECORDS, zone) as books:
                    tariff = price_parts(session.group.homes[h].tariff)
                    bill = None if books is None else expected_bill(books, found, tariff)
                made.append(HomeOutlook(found, bill))
            return made
        finally:
            sessions.forget()
