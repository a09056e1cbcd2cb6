"""Readings out of a PostgreSQL database (Supabase included), asked for again and again.

The query gives a column with stamps and one with values; ``:since`` in it stands for the time from
which on rows are wanted. Nothing is prepared on the server, so a transaction pooler will do.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import psycopg
from psycopg.conninfo import make_conninfo

from common.errors import InputError
from fl_client.home.inbox import Inbox
from fl_client.home.mapping import Channel
from fl_client.home.sources.polling import Since, poll
from fl_client.home.sources.source import SQL, SQL_PASSWORD, Cursor, secret
from fl_client.home.store import OWN
from fl_client.home.values import Unreadable, said, stamp

_ROWS = 5000
_CONNECT_S = 10


class Sql:
    """Queries to one database."""

    def __init__(
        self, server: str, channels: Sequence[Channel], secrets: Mapping[str, str], cursor: Cursor
    ) -> None:
        url = server or secret(secrets, SQL, "source sql: no address of the database")
        password = secrets.get(SQL_PASSWORD)
        try:
            self._conninfo = make_conninfo(url, connect_timeout=_CONNECT_S)
            parts = psycopg.conninfo.conninfo_to_dict(url)
            if password:
                self._conninfo = make_conninfo(self._conninfo, password=password)
            hosted = str(parts.get("host", "")).endswith((".supabase.co", ".supabase.com"))
            if hosted and "sslmode" not in parts:
                self._conninfo = make_conninfo(self._conninfo, sslmode="require")
        except psycopg.Error as error:
            raise InputError(f"source sql: {' '.join(str(error).split())}") from None
        self.name = f"sql {parts.get('host', 'localhost')}/{parts.get('dbname', '')}"
        self._channels, self._since = channels, Since(channels, cursor)

    def run(self, inbox: Inbox, stop: threading.Event) -> None:
        """See ``Source``."""
        try:
            with psycopg.connect(self._conninfo, autocommit=False, prepare_threshold=None) as db:
                inbox.state(self.name, "connected")
                poll(self._channels, inbox, stop, lambda one: self._ask(db, one, inbox))
        except psycopg.Error as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise OSError(lines[0]) from None

    def _ask(
        self, db: "psycopg.Connection[tuple[object, ...]]", one: Channel, inbox: Inbox
    ) -> None:
        since = datetime.fromtimestamp(self._since.time(one), UTC)
        query = re.sub(r"(?<!:):since\b", "%(since)s", one.address.replace("%", "%%"))
        newest = 0.0
        with db.transaction(), db.cursor("fedwatt") as rows:
            rows.execute(query.encode(), {"since": since})
            names = [column.name for column in rows.description or ()]
            when, what = _columns(one, names)
            while batch := rows.fetchmany(_ROWS):
                for row in batch:
                    newest = max(newest, _take(one, row[when], row[what], inbox))
        self._since.seen(one, newest, inbox)


def _columns(one: Channel, names: list[str]) -> tuple[int, int]:
    """Which column holds the stamp, which the value."""
    if one.time not in names:
        raise InputError(f"{one.role}: the query gives {', '.join(names)}, and no {one.time!r}")
    others = [name for name in names if name != one.time]
    wanted = one.field or (others[0] if len(others) == 1 else "")
    if wanted not in names:
        raise InputError(f"{one.role}: say by json which of {', '.join(names)} is the value")
    return names.index(one.time), names.index(wanted)


def _take(one: Channel, when: object, what: object, inbox: Inbox) -> float:
    """Put one row; returns its time [s since 1970], 0 where it cannot be read."""
    if what is None:
        return 0.0
    try:
        at, value = stamp(when, one.zone, inbox.clock.now()), said(what, one.word)
    except Unreadable as error:
        inbox.doubt(one, f"left out: {error}")
        return 0.0
    inbox.put(one, at, value * one.scale, OWN)
    return at
