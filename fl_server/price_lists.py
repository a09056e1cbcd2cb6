"""The prices that the lines of a bill are computed from, kept beside the ledger's postings.

The postings, which hold, do not depend on them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from common.arrays import Ints
from common.schema_ledger import price_lists, price_members


class PriceList(NamedTuple):
    """What one kWh or one day costs a household in one interval, part by part [micro].

    Of a kWh drawn from the grid: ``energy``, ``markup``, ``network``, ``levies``, ``vat``; they add
    up to its import price. ``export``: what a kWh fed in earns. Of a kWh bought from a member:
    ``local_network``, ``local_levies``, ``local_vat``. Of a day: ``standing``, ``standing_vat``.
    """

    energy: int
    markup: int
    network: int
    levies: int
    vat: int
    export: int
    local_network: int
    local_levies: int
    local_vat: int
    standing: int
    standing_vat: int


_PARTS = tuple(f"{part}_micro" for part in PriceList._fields)


class KeptPrices:
    """The price lists of one run. ``first``: its first account that is a household's."""

    def __init__(self, run: int, first: int) -> None:
        self._run, self._first = run, first
        self._list_of: dict[int, int] = {}

    def keep(self, db: sa.Connection, interval: int, lists: Sequence[PriceList], of: Ints) -> None:
        """Write down the lists of an interval, and which of them each household has (H,)."""
        names = ("run", "interval", "list", *_PARTS)
        db.execute(
            price_lists.insert(),
            [
                dict(zip(names, (self._run, interval, number, *one), strict=True))
                for number, one in enumerate(lists)
            ],
        )
        moved = [
            {"run": self._run, "account": self._first + h, "since": interval, "list": number}
            for h, number in enumerate(of.tolist())
            if self._list_of.get(h) != number
        ]
        if moved:
            db.execute(price_members.insert(), moved)
        self._list_of = dict(enumerate(of.tolist()))

    def forget(self, db: sa.Connection, interval: int) -> None:
        """Remove what was kept of ``interval`` and later ones."""
        for table, at in ((price_lists, "interval"), (price_members, "since")):
            here = sa.and_(table.c.run == self._run, table.c[at] >= interval)
            db.execute(table.delete().where(here))
        self._list_of.clear()

    def of(self, db: sa.Connection, account: int) -> Ints:
        """An account's prices (n, 12) by interval: interval, and the parts of its ``PriceList``.

        None from before bills had lines.
        """
        found: list[sa.Row[tuple[int, ...]]] = []
        if sa.inspect(db).has_table(price_lists.name):
            member, column = price_members.c, price_lists.c
            had = db.execute(
                sa.select(member.since, member.list)
                .where(member.run == self._run, member.account == account)
                .order_by(member.since)
            ).all()
            ends = [*(row.since for row in had), None][1:]
            for (since, number), end in zip(had, ends, strict=True):
                query = sa.select(column.interval, *(column[part] for part in _PARTS)).where(
                    column.run == self._run, column.list == number, column.interval >= since
                )
                if end is not None:
                    query = query.where(column.interval < end)
                found += db.execute(query.order_by(column.interval)).all()
        return np.array([tuple(row) for row in found], np.int64).reshape(-1, 1 + len(_PARTS))
