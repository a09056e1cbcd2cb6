"""The outlook of a household in its own folder: by its newest model, and what it knew when it
decided last.

Everything is read from a copy, so that looking changes nothing, and of readings that arrive the
copy has only those that the last decision knew.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copy2, copytree
from typing import NamedTuple

from flwr.app import Context, RecordDict

from common.errors import InputError
from fl_client.control.settings import CONTROL
from fl_client.home.mapping import MAPPING
from fl_client.home.store import STORE, Store
from fl_client.host.books import Books, opened
from fl_client.host.client_file import read_client
from fl_client.host.month_bill import LOOK_BACK_DAYS, MonthBill, month_bill
from fl_client.membership import METERS
from fl_client.outlook import Outlook, draw, outlook_of
from fl_client.session import Sessions
from fl_client.state import State

_OWN_FILES = ("settings.yaml", CONTROL, MAPPING)


class HomeOutlook(NamedTuple):
    """What a household expects, and what its month should cost where that can be told."""

    outlook: Outlook
    bill: MonthBill | None

    def drawn(self, path: Path) -> list[str]:
        """Draw it to ``path``; returns what there is to say in lines."""
        found = self.outlook
        draw(found, path)
        return [
            *found.lines,
            *([] if self.bill is None else [self.bill.line]),
            f"{found.name}, from {found.begins:%Y-%m-%d %H:%M} on; drawn: {path}",
        ]


def home_outlook(home: Path) -> HomeOutlook:
    """The outlook of the household in folder ``home``.

    Raises InputError where it has joined no run yet, holds no model or knows too little.
    """
    file = read_client(home)
    with tempfile.TemporaryDirectory(prefix="fedwatt-forecast-") as folder:
        copy = Path(folder)
        _copy_records(home, copy, file.name)
        with _kept(copy) as state:
            told, heard_s, model = state.run_config(), state.heard(), state.model()
        if model is None:
            raise InputError(
                f"household {file.name}: no model has been received yet; one comes with the "
                "community's next round of learning (fl.every_hours), while fedwatt-client start "
                "runs"
            )
        if told is None or (file.data == METERS and heard_s is None):
            raise InputError(
                f"household {file.name}: an older release has not kept what a forecast takes; "
                "fedwatt-client start, and it is there after the coordinator's next start"
            )
        if heard_s is not None:
            store = Store(home / STORE)
            try:
                store.copy_intervals(copy / STORE, heard_s)
            finally:
                store.close()
        context = Context(
            run_id=0,
            node_id=0,
            node_config={
                "household": file.name, "state": str(copy / "state"), "data": file.data,
            },
            state=RecordDict(),
            run_config=json.loads(told),
        )  # fmt: skip
        sessions = Sessions()
        try:
            found = outlook_of(sessions.open([context]), 0)
        finally:
            sessions.forget()
    if found is None:
        raise InputError(
            f"household {file.name}: the model that it received is not kept any more; the next "
            "round of learning brings another"
        )
    with opened(home) as books:
        bill = None if books is None else expected_bill(books, found, books.tariff())
        return HomeOutlook(found, bill)


def expected_bill(books: Books, found: Outlook, tariff: Mapping[str, float]) -> MonthBill | None:
    """What the month should cost by an outlook, beside what is booked of it; see ``month_bill``."""
    ahead = books.spread(found.t, found.month.consumption.tolist(), found.month.price.tolist())
    lived = books.intervals(max(books.newest() - LOOK_BACK_DAYS * books.per_day, 0))
    return month_bill(books, lived, ahead, tariff)


def _copy_records(home: Path, copy: Path, name: str) -> None:
    """Copy what a session reads of the household's folder, as it is at one moment."""
    database = home / "state" / "household.sqlite"
    if not database.exists():
        raise InputError(
            f"household {name}: has joined no run yet; fedwatt-client start {home}, and the "
            "community's coordinator has to admit it"
        )
    (copy / "state").mkdir()
    with (
        closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as db,
        closing(sqlite3.connect(copy / "state" / database.name)) as target,
    ):
        db.backup(target)
    for own in _OWN_FILES:
        if (home / own).exists():
            copy2(home / own, copy / own)
    if (home / "state" / "models").is_dir():
        copytree(home / "state" / "models", copy / "state" / "models")


@contextmanager
def _kept(copy: Path) -> Iterator[State]:
    state = State(copy / "state", durable=True)
    try:
        yield state
    finally:
        state.close()
