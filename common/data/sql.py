"""Households in a database: PostgreSQL (Supabase included) or SQLite.

Rows may have gaps and may lack prices or weather; they are completed by the rules of an import.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from common import database
from common.arrays import Floats
from common.data import schema
from common.data.assemble import ABSENT, MAX_GAP_SHARE
from common.data.frame import (
    APPLIANCES,
    COLUMNS,
    EXPORT_PRICE,
    IDLE_BATTERY,
    INTERVAL,
    Household,
)
from common.data.resample import HALF_HOUR_S, fill_gaps
from common.errors import InputError

_ENERGY = (*APPLIANCES, "pv")
_LEVELS = ("price", "temperature", "solar_irradiance", EXPORT_PRICE)
_CHUNK = 5000
_SAME = 1e-9  # prices and weather that differ by less are the same


class Readings:
    """The households of one database that this connection may see."""

    def __init__(self, url: str) -> None:
        self._db = database.engine(url)
        database.require_version(self._db)
        self.label = database.shown(self._db.url)
        self._postgres = self._db.dialect.name == "postgresql"

    def close(self) -> None:
        """Close the connections."""
        self._db.dispose()

    def spans(self) -> list[tuple[str, str, pd.Timestamp, int]]:
        """Return (name, zone, first interval, half hours) of each household with readings."""
        r, h = schema.readings.c, schema.households.c
        query = (
            sa.select(h.name, h.timezone, sa.func.min(r.time), sa.func.max(r.time))
            .join_from(schema.households, schema.readings)
            .group_by(h.name, h.timezone)
            .order_by(h.name)
        )
        with database.one_line(self._db), self._db.connect() as connection:
            rows = connection.execute(query).all()
        found = []
        for name, zone, low, high in rows:
            first, last = _utc(low), _utc(high)
            found.append((str(name), str(zone), first, int((last - first) // INTERVAL) + 1))
        return found

    def real(self, names: Sequence[str]) -> bool:
        """Whether every one of the households is measured."""
        h = schema.households.c
        query = sa.select(sa.func.count()).where(h.name.in_(names), sa.not_(h.real))
        with database.one_line(self._db), self._db.connect() as connection:
            return connection.scalar(query) == 0

    def load(self, name: str) -> Household:
        """Return one household. Raises InputError if it is not there or not usable."""
        with database.one_line(self._db), self._db.connect() as connection:
            h = schema.households.c
            home = connection.execute(sa.select(schema.households).where(h.name == name)).first()
            if home is None:
                raise InputError(f"{self.label} has no household {name!r}")
            values = self._rows(connection, name, str(home.area))
        if len(values) == 0:
            raise InputError(f"{self.label}: household {name} has no readings")
        frame, filled, count = _complete(values, f"{self.label}: household {name}")
        return Household(
            name=name,
            frame=frame,
            timezone=str(home.timezone),
            resolution_minutes=int(home.resolution_minutes),
            phase_minutes=int(home.phase_minutes),
            source=str(home.source) or self.label,
            real=bool(home.real),
            filled_values=count,
            filled_rows=filled,
        )

    def _rows(self, connection: sa.Connection, name: str, area: str) -> NDArray[np.float64]:
        """(n, 16): seconds since 1970, nine appliances, pv, filled, four levels (NaN: none)."""
        r, p, w = schema.readings.c, schema.prices.c, schema.weather.c
        if self._postgres:
            seconds = sa.cast(sa.extract("epoch", r.time), sa.Double)
        else:
            seconds = sa.cast(sa.func.strftime("%s", r.time), sa.Double)
        none = sa.literal_column("'NaN'") if self._postgres else sa.null()
        columns = [
            seconds,
            *(r[c] for c in _ENERGY),
            sa.cast(sa.case((r.filled, 1.0), else_=0.0), sa.Double),
            *(sa.func.coalesce(c, none) for c in [(p if c in p else w)[c] for c in _LEVELS]),
        ]
        query = (
            sa.select(*columns)
            .join_from(
                schema.readings, schema.prices, (p.area == area) & (p.time == r.time), isouter=True
            )
            .join(schema.weather, (w.area == area) & (w.time == r.time), isouter=True)
            .where(r.household == name)
            .order_by(r.time)
        )
        if self._postgres:
            return _copy_out(connection, query, len(columns))
        rows = connection.execute(query).all()
        return np.array([tuple(row) for row in rows], dtype=np.float64).reshape(len(rows), -1)

    def write(self, home: Household, area: str | None = None) -> list[str]:
        """Replace a household's readings, in one transaction. Returns what is to be said.

        ``area``: whose prices and weather are its own; None: that of before, or ``home``. They are
        written too, where this role may; a household of a shared database leaves them to the
        coordinator. Raises InputError where other households of the area have others.
        """
        h = schema.households.c
        about = {
            "timezone": home.timezone,
            "resolution_minutes": home.resolution_minutes,
            "phase_minutes": home.phase_minutes,
            "source": home.source,
            "real": home.real,
        }
        index = home.frame.index
        assert isinstance(index, pd.DatetimeIndex)
        times = index.to_pydatetime().tolist()
        energy = home.frame[list(_ENERGY)].to_numpy(np.float64).tolist()
        said = []
        with database.one_line(self._db), self._db.begin() as connection:
            known = connection.execute(sa.select(h.area).where(h.name == home.name)).first()
            if known is None:
                area = area or "home"
                connection.execute(
                    schema.households.insert().values(name=home.name, area=area, **about)
                )
            else:
                moved = {} if area in (None, str(known.area)) else {"area": area}
                area = area or str(known.area)
                connection.execute(
                    schema.households.update().where(h.name == home.name).values(**about, **moved)
                )
            connection.execute(
                schema.readings.delete().where(schema.readings.c.household == home.name)
            )
            filled = home.filled_rows.tolist()
            self._insert(
                connection,
                schema.readings,
                ("household", "time", *_ENERGY, "filled"),
                [(home.name, t, *e, f) for t, e, f in zip(times, energy, filled, strict=True)],
            )
            for table, columns in (
                (schema.prices, ("price", EXPORT_PRICE)),
                (schema.weather, ("temperature", "solar_irradiance")),
            ):
                levels = home.frame.reindex(columns=list(columns)).to_numpy(np.float64)
                if self._may_insert(connection, table):
                    self._write_levels(connection, table, columns, home.name, area, times, levels)
                else:
                    said.append(
                        f"{table.name} are not this role's to write: those of area {area} hold"
                    )
        return said

    def _write_levels(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        household: str,
        area: str,
        times: Sequence[datetime],
        levels: Floats,
    ) -> None:
        """Write prices or weather (T, 2), nan: none, of an area's times that have none yet.

        Where it has others the household must be alone there: then its own replace them.
        """
        within = (table.c.area == area) & table.c.time.between(times[0], times[-1])
        rows = connection.execute(
            sa.select(table.c.time, *(table.c[c] for c in columns)).where(within)
        ).all()
        there = {_utc(row[0]).to_pydatetime(): row[1:] for row in rows}
        none = (np.nan, np.nan)
        stored = np.array([there.get(t, none) for t in times], dtype=np.float64)
        kept = np.array([t in there for t in times])
        both = np.isnan(stored) & np.isnan(levels)
        other = kept[:, None] & ~(np.isclose(stored, levels, rtol=0, atol=_SAME) | both)
        if other.any():
            h = schema.households.c
            beside = sa.select(h.name).where((h.area == area) & (h.name != household)).limit(1)
            neighbour = connection.scalar(beside)
            if neighbour is not None:
                row, column = np.argwhere(other)[0]
                raise InputError(
                    f"{self.label}: household {household}: {columns[column]} at "
                    f"{_utc(times[row]):%Y-%m-%d %H:%M} UTC is {levels[row, column]:g}, and "
                    f"{stored[row, column]:g} in area {area}, which {neighbour} has as well: one "
                    "area has one: --area NAME gives the household another"
                )
            connection.execute(table.delete().where(within))
            kept[:] = False
        values = [[None if np.isnan(v) else v for v in row] for row in levels.tolist()]
        new = [(area, times[at], *values[at]) for at in np.flatnonzero(~kept).tolist()]
        self._insert(connection, table, ("area", "time", *columns), new)

    def _may_insert(self, connection: sa.Connection, table: sa.Table) -> bool:
        if not self._postgres:
            return True
        return bool(connection.scalar(sa.func.has_table_privilege(table.name, "INSERT")))

    def _insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Sequence[tuple[object, ...]],
    ) -> None:
        if not rows:
            return
        if not self._postgres:
            values = [dict(zip(columns, row, strict=True)) for row in rows]
            connection.execute(table.insert(), values)
            return
        # psycopg's own executemany pipelines; COPY is not allowed under row-level security.
        names = ", ".join(f'"{column}"' for column in columns)
        raw = connection.connection.cursor()
        marks = ", ".join(["%s"] * len(columns))
        for begin in range(0, len(rows), _CHUNK):
            raw.executemany(
                f"insert into {table.name} ({names}) values ({marks})", rows[begin : begin + _CHUNK]
            )


def _copy_out(connection: sa.Connection, query: sa.Select[Any], width: int) -> Floats:
    """Return (n, width) of a query of double precision columns without nulls, by binary COPY.

    Three times as fast as fetching rows: the answer is one buffer. Format: a header of 19 bytes;
    per row a 2-byte count and, per field, a 4-byte length and 8 bytes; a 2-byte end mark.
    """
    text = query.compile(connection, compile_kwargs={"literal_binds": True})
    with connection.connection.cursor().copy(f"copy ({text}) to stdout (format binary)") as copy:
        answer = b"".join(copy)
    record = np.dtype([("count", ">i2"), ("field", [("length", ">i4"), ("value", ">f8")], width)])
    rows = np.frombuffer(answer, record, count=(len(answer) - 21) // record.itemsize, offset=19)
    return np.asarray(rows["field"]["value"], dtype=np.float64)


def _utc(value: object) -> pd.Timestamp:
    stamp = pd.Timestamp(value)  # type: ignore[arg-type]
    return stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")


def _complete(
    values: NDArray[np.float64], what: str
) -> tuple[pd.DataFrame, NDArray[np.bool_], int]:
    """Return the frame without gaps, its filled rows, and how many values were filled."""
    seconds = values[:, 0].astype(np.int64)
    off = np.flatnonzero(seconds % HALF_HOUR_S)
    if off.size:
        when = pd.Timestamp(int(seconds[off[0]]), unit="s")
        raise InputError(f"{what}: {when} UTC is not on the half-hour grid")
    slot = (seconds - seconds[0]) // HALF_HOUR_S
    size = int(slot[-1]) + 1
    known = np.zeros(size, dtype=np.bool_)
    known[slot] = True
    share = 1.0 - known.mean()
    if share > MAX_GAP_SHARE:
        raise InputError(f"{what}: {share:.1%} of its half hours are missing")
    index = pd.date_range(
        pd.Timestamp(int(seconds[0]), unit="s", tz="UTC"),
        periods=size,
        freq=INTERVAL,
        unit="us",
        name="timestamp",
    )
    columns = dict.fromkeys(COLUMNS, np.zeros(size))
    columns |= {key: np.full(size, idle) for key, idle in IDLE_BATTERY.items()}
    for at, name in enumerate(_ENERGY, 1):
        column = np.zeros(size)
        column[slot] = values[:, at]
        columns[name] = fill_gaps(column, known)
    filled = ~known
    filled[slot] |= values[:, len(_ENERGY) + 1] > 0
    count = int(filled.sum())
    for at, name in enumerate(_LEVELS, len(_ENERGY) + 2):
        level = np.full(size, np.nan)
        level[slot] = values[:, at]
        if np.isnan(level).all():
            if name != EXPORT_PRICE:
                columns[name] = np.full(size, ABSENT[name])
            continue
        count += int(np.isnan(level).sum())
        columns[name] = pd.Series(level).ffill().fillna(ABSENT.get(name, 0.0)).to_numpy(np.float64)
    order = [c for c in (*COLUMNS, EXPORT_PRICE) if c in columns]
    return pd.DataFrame(columns, index=index, columns=order), filled, count
