"""Home Assistant's recorder database (home-assistant_v2.db): hourly sums of its energy meters.

The table ``statistics`` is never purged: it keeps every hour since an entity was there. Layout read
on 2026-11-26 from https://data.home-assistant.io/docs/statistics/.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from common.data.formats.homeassistant import bystanders_of, roles_of
from common.data.readings import Batch, Kind, Options, household_name, one_home_a_file
from common.errors import InputError

_KWH = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}
_HOUR_S = 3600


class HomeAssistantRecorder:
    """Entities that count energy; which is which by name or ``--map ENTITY=ROLE``."""

    name = "ha-recorder"
    title = "Home Assistant recorder database"
    zone = None
    clock = None
    reads: frozenset[str] = frozenset({"name", "each", "roles", "allow_resets"})
    folders = False

    def __init__(self) -> None:
        self.said: list[str] = []

    def recognises(self, path: Path, head: str) -> bool:
        """An SQLite file with Home Assistant's table of statistics."""
        return head.startswith("SQLite format 3") and _tables(path) is not None

    def read(self, paths: Sequence[Path], options: Options) -> Iterator[Batch]:
        """Yield one batch per entity."""
        one_home_a_file(paths, options)
        for path in paths:
            yield from self._file(path, options)

    def _file(self, path: Path, options: Options) -> Iterator[Batch]:
        if _tables(path) is None:
            raise InputError(f"{path}: not a readable recorder database of Home Assistant")
        with closing(_open(path)) as database:
            units = dict(
                database.execute(
                    "select statistic_id, unit_of_measurement from statistics_meta where has_sum"
                ).fetchall()
            )
            meters = [entity for entity, unit in units.items() if unit in _KWH]
            if not meters:
                raise InputError(f"{path}: no entity of its statistics counts energy")
            left = bystanders_of(meters, options)
            if left:
                self.said.append(
                    f"entities not read: {', '.join(left)}: --map ENTITY=ROLE reads one"
                )
            used = [entity for entity in meters if entity not in left]
            for entity, channel in roles_of(used, options, path).items():
                if channel == "ignore":
                    continue
                columns = {row[1] for row in database.execute("pragma table_info(statistics)")}
                begin = (
                    "start_ts" if "start_ts" in columns else "cast(strftime('%s', start) as real)"
                )
                rows = database.execute(
                    f"select s.id, {begin}, s.sum from statistics s join statistics_meta m "
                    "on s.metadata_id = m.id where m.statistic_id = ? and s.sum is not null "
                    "order by 2",
                    (entity,),
                ).fetchall()
                if not rows:
                    continue
                number, start, total = (np.array(c) for c in zip(*rows, strict=True))
                yield Batch(
                    household_name(path, options),
                    channel,
                    start.astype(np.int64) + _HOUR_S,  # the sum at the end of its hour
                    np.zeros(len(rows), dtype=np.int64),
                    total.astype(np.float64) * _KWH[units[entity]],
                    number.astype(np.int64),
                    path,
                    kind=Kind.REGISTER,
                    series=entity,
                )


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def _tables(path: Path) -> set[str] | None:
    """Return the tables of a recorder database; None where it is none."""
    try:
        with closing(_open(path)) as database:
            rows = database.execute("select name from sqlite_master where type = 'table'")
            names = {str(row[0]) for row in rows}
    except sqlite3.Error:
        return None
    return names if {"statistics", "statistics_meta"} <= names else None
