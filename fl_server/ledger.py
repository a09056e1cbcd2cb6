"""The ledger: double entry in whole mWh and micro, rows chained by hash, in SQL.

Two entries per interval: the *fills* of its trades and, after it, the *settlement* with the grid;
under a cap a third one, the *surcharge* on imports beyond allowances. A run may close with a
*compensation* of those who lost by the market. Within an entry, energy in equals energy out and
money in equals money out over all accounts: households, grid, loss, market (residue of rounding
and of mechanisms that keep some) and fees; in a run with a local fee also network, levies and vat.

Row k carries ``sha256(hash of row k-1, row k)``; row 0 follows the hash of the run's name, start
and accounts. The same run writes the same rows, byte for byte. A household that is admitted later
gets the next account and a row of its own, which binds its name to it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from common import database
from common.arrays import Ints
from common.cadence import Cadence
from common.energy.charges import LocalFee
from common.errors import InputError
from common.schema_ledger import (
    accounts,
    metadata,
    postings,
    runs,
    states,
)
from fl_server.audit import (
    ON_TIME,
    Account,
    Kind,
    Verdict,
    audit,
    entry_name,
    genesis,
    link,
    packed,
)
from fl_server.lines import local_lines
from fl_server.market.book import Fills
from fl_server.price_lists import KeptPrices, PriceList
from fl_server.settlement import Settlement, Surcharge

__all__ = ["COMMUNITY", "LOCAL", "ON_TIME", "Kind", "Ledger", "LedgerError"]

COMMUNITY: Final = ("grid", "loss", "market", "fees")
"""Accounts 0 to 3; households follow in the order they were given."""
LOCAL: Final = ("network", "levies", "vat")
"""Accounts 4 to 6 of a run in which local energy pays them; its households follow after these."""
_GRID, _LOSS, _MARKET, _FEES, _NETWORK, _LEVIES, _VAT = range(len(COMMUNITY) + len(LOCAL))
_FIGURES = ("energy_in_milliwh", "energy_out_milliwh", "money_in_micro", "money_out_micro")
_NAMED = 5
_ENTRY = ("interval", "kind", "late_household")
_HASHED = ("seq", *_ENTRY, "account", *_FIGURES, "revision")
# Columns of a block of rows that are not booked yet: _HASHED without seq.
_INTERVAL, _KIND, _HOUSEHOLD, _ACCOUNT, _IN, _OUT, _MONEY_IN, _MONEY_OUT, _REVISION = range(9)
_SETTLED = (Kind.SETTLEMENT, Kind.ESTIMATE, Kind.REVISION)


class LedgerError(RuntimeError):
    """The ledger refuses: an interval is already booked with other figures, or out of turn."""


class Ledger:
    """The ledger of one run in the database at ``url`` (SQLAlchemy).

    SQLite runs in WAL mode. With ``durable`` every commit reaches the disk before ``record``
    returns; without it a power cut may lose the last intervals, though never half of one.
    """

    def __init__(self, url: str, *, durable: bool = True, create: bool = True) -> None:
        """Connect; ``create`` makes the tables where there are none. Raises InputError."""
        self._engine = database.engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _sqlite_settings(durable))
        with database.one_line(self._engine):
            there = sa.inspect(self._engine)
            if there.has_table(postings.name):
                columns = {
                    column["name"]
                    for table in (postings, runs)
                    for column in there.get_columns(table.name)
                }
                if not {"late_household", "revision", "interval_minutes"} <= columns:
                    raise InputError(
                        f"database {database.shown(self._engine.url)}: a ledger of an older "
                        f"release; 'fedwatt data migrate {database.shown(self._engine.url)}' "
                        "carries it over"
                    )
            elif not create:
                raise InputError(f"database {database.shown(self._engine.url)}: holds no ledger")
            if create:
                metadata.create_all(self._engine)
        self._run: int | None = None
        self._households = 0
        self._community = len(COMMUNITY)
        self._local = LocalFee()
        self._prices = KeptPrices(-1, self._community)
        self._seq = -1
        self._hash = b""
        self._late: list[Ints] = []
        self._newcomers: list[str] = []

    def close(self) -> None:
        """Close the connections; SQLite folds its write-ahead log into the file."""
        self._engine.dispose()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def runs(self) -> list[str]:
        """Names of the runs in this database."""
        with self._engine.connect() as db:
            return list(db.scalars(sa.select(runs.c.name).order_by(runs.c.run)))

    def open_run(
        self,
        name: str,
        households: Sequence[str],
        *,
        start: str = "",
        timezone: str = "UTC",
        local: LocalFee | None = None,
        interval_minutes: int = 30,
    ) -> None:
        """Begin a run or continue it. ``start``: ISO time of interval 0 in UTC. ``local``: what is
        charged on local energy, as far as ``record`` is to book any.

        Households beyond those the run has are admitted with the next ``record``. Raises
        InputError if a run of that name has others, in another order, another start or intervals
        of another length.
        """
        self._local = local or LocalFee()
        if len(set(households)) != len(households):
            raise InputError(f"ledger: run {name!r} names a household twice")
        with self._engine.begin() as db:
            known = db.execute(sa.select(runs).where(runs.c.name == name)).one_or_none()
            community = COMMUNITY + (LOCAL if self._local else ())
            if known is not None:
                before = [a.name for a in _chart(db, int(known.run)) if a.kind == "community"]
                if self._local and len(before) == len(COMMUNITY):
                    raise InputError(
                        f"ledger: run {name!r} began without a local fee: begin another run"
                    )
                community = tuple(before)
            chart = [
                Account(number, kind, account, -1)
                for number, (kind, account) in enumerate(
                    [("community", n) for n in community] + [("household", n) for n in households]
                )
            ]
            if known is None:
                origin = genesis(name, start, timezone, chart, interval_minutes)
                key = db.execute(
                    runs.insert().values(
                        name=name,
                        start=start,
                        timezone=timezone,
                        head_seq=-1,
                        head_hash=origin,
                        interval_minutes=interval_minutes,
                    )
                ).inserted_primary_key
                assert key is not None
                run = int(key[0])
                db.execute(accounts.insert(), [_account_row(run, account) for account in chart])
                self._seq, self._hash = -1, origin
            else:
                run = int(known.run)
                there = _chart(db, run)
                same = [(a.kind, a.name) for a in chart[: len(there)]]
                if (known.start, known.timezone) != (start, timezone) or same != [
                    (a.kind, a.name) for a in there
                ]:
                    raise InputError(
                        f"ledger: run {name!r} exists with other households or another start"
                    )
                if known.interval_minutes != interval_minutes:
                    raise InputError(
                        f"ledger: run {name!r} has intervals of {known.interval_minutes} minutes, "
                        f"not {interval_minutes}"
                    )
                self._seq, self._hash = int(known.head_seq), bytes(known.head_hash)
                chart = there
        self._run, self._community = run, len(community)
        self._households = len(chart) - self._community
        self._prices = KeptPrices(run, self._community)
        self.admit(households[self._households :])

    def admit(self, households: Sequence[str]) -> None:
        """Give households the next accounts, with the next ``record``."""
        self._newcomers += households

    def attach(self, name: str | None = None) -> str:
        """Open a run that exists, the only one if no name is given; returns its name."""
        there = self.runs()
        if name is None and len(there) == 1:
            name = there[0]
        if name not in there:
            raise InputError(f"ledger: run {name!r}: expected one of {', '.join(there) or 'none'}")
        with self._engine.connect() as db:
            row = db.execute(sa.select(runs).where(runs.c.name == name)).one()
            chart = _chart(db, int(row.run))
            self._community = sum(account.kind == "community" for account in chart)
            self._households = len(chart) - self._community
        self._run, self._seq, self._hash = int(row.run), int(row.head_seq), bytes(row.head_hash)
        self._prices = KeptPrices(self._run, self._community)
        return str(name)

    def record(
        self,
        interval: int,
        fills: Fills | None,
        settlement: Settlement | None = None,
        state: str | None = None,
        compensation: tuple[int, Ints] | None = None,
        standing: Ints | None = None,
        prices: tuple[Sequence[PriceList], Ints] | None = None,
    ) -> bool:
        """Book the settlement of ``interval - 1`` and the fills of ``interval`` in one go.

        One transaction. Either may be None: before the first interval and after the last.
        ``compensation`` (H,) [micro, positive where received], with the last interval of those it
        is for; ``standing`` (H,) [micro] is paid for the day that begins with ``interval``.
        ``prices``: the price lists of ``interval`` and which of them each household has (H,), for
        its bill. ``state``, the coordinator's own account of where the run stands, goes with
        them. Returns False, and changes nothing, if just these figures are booked already.
        Raises LedgerError if others are.
        """
        blocks = list(self._late)
        if self._newcomers:
            blocks.insert(0, self._admissions(interval))
        if settlement is not None:
            blocks += self._settlement_blocks(interval - 1, settlement)
        if standing is not None and standing.any():
            blocks.append(self._standing_rows(interval, standing))
        if fills is not None:
            blocks.append(self._fill_rows(interval, fills))
        if compensation is not None and compensation[1].any():
            blocks.append(self._compensation_rows(*compensation))
        for block in blocks:
            if block[:, _ACCOUNT].max() >= self._accounts + len(self._newcomers):
                raise LedgerError(f"interval {interval}: more households than the run has")
        with self._engine.begin() as db:
            new = [block for block in blocks if not self._booked(db, block)]
            if not new:
                self._late.clear()
                return False
            figures = np.concatenate(new)
            seq = self._seq + 1 + np.arange(len(figures))
            figures = np.column_stack((seq, figures))
            chain = _chain(self._hash, figures, self._newcomers)
            if self._newcomers:
                db.execute(
                    accounts.insert(),
                    [
                        _account_row(
                            self._run, Account(self._accounts + i, "household", n, interval)
                        )
                        for i, n in enumerate(self._newcomers)
                    ],
                )
            names = ("run", *_HASHED, "hash")
            db.execute(
                postings.insert(),
                [
                    dict(zip(names, (self._run, *row, hashed), strict=True))
                    for row, hashed in zip(figures.tolist(), chain, strict=True)
                ],
            )
            self._move_head(db, int(seq[-1]), chain[-1])
            if prices is not None:
                self._prices.keep(db, interval, *prices)
            if state is not None:
                db.execute(states.delete().where(states.c.run == self._run))
                db.execute(states.insert().values(run=self._run, state=state))
        self._seq, self._hash = int(seq[-1]), chain[-1]
        self._late.clear()
        self._households += len(self._newcomers)
        self._newcomers.clear()
        return True

    def price_lists_of(self, household: str) -> Ints:
        """A household's prices (n, 12): interval, and the parts of its ``PriceList``."""
        with self._engine.connect() as db:
            return self._prices.of(db, self._account(db, household))

    @property
    def _accounts(self) -> int:
        return self._community + self._households

    def _admissions(self, interval: int) -> Ints:
        """Rows that open the newcomers' accounts."""
        block = np.zeros((len(self._newcomers), 9), np.int64)
        block[:, _INTERVAL], block[:, _KIND] = interval, Kind.ADMISSION
        block[:, _HOUSEHOLD] = ON_TIME
        block[:, _ACCOUNT] = self._accounts + np.arange(len(self._newcomers))
        return block

    def record_late(
        self, interval: int, household: int, settlement: Settlement, *, estimated: bool = False
    ) -> None:
        """Settle an earlier interval of one household, whose reading came late, or not at all.

        ``settlement`` is zero for all others, though all get their part of a surcharge. It is
        booked with the next ``record``, in the same transaction, as an entry of its own.
        """
        kind = Kind.ESTIMATE if estimated else Kind.SETTLEMENT
        self._late += self._settlement_blocks(interval, settlement, household, kind)

    def revise(self, interval: int, household: int, settlement: Settlement) -> bool:
        """Take back what is booked for one household's interval and book ``settlement`` instead.

        One entry, with the next ``record``; a surcharge stays as it was. Returns False, and books
        nothing, where these figures are what is booked.
        """
        account, column = self._community + household, postings.c
        sums = [sa.func.coalesce(sa.func.sum(column[name]), 0) for name in _FIGURES]
        newest = sa.func.coalesce(sa.func.max(column.revision), 0)
        query = sa.select(*sums, newest).where(
            column.run == self._run,
            column.interval == interval,
            column.account == account,
            column.kind.in_(_SETTLED),
        )
        since = sa.select(accounts.c.since).where(
            accounts.c.run == self._run, accounts.c.account == account
        )
        with self._engine.connect() as db:
            if interval < int(db.scalar(since) or 0):
                return False  # from before it was admitted
            *booked, number = (int(x) for x in db.execute(query).one())
        h = household
        sides = _sides(settlement.revenue, settlement.cost)
        figures = (settlement.grid_import, settlement.grid_export, *sides)
        now = [int(figure[h]) for figure in figures]
        pairs = ((0, 1), (2, 3))
        if all(now[i] - now[o] == booked[i] - booked[o] for i, o in pairs):
            return False
        rows = np.zeros((len(settlement.cost), 4), np.int64)
        for i, o in pairs:
            rows[h, i], rows[h, o] = now[i] + booked[o], now[o] + booked[i]
        energy_in, energy_out, money_in, money_out = rows[h].tolist()
        grid = [(_GRID, energy_out, energy_in, money_out, money_in)]
        self._late.append(self._entry_rows(interval, Kind.REVISION, h, grid, rows, number + 1))
        return True

    def filled(self, interval: int, household: int) -> tuple[int, int, int, int]:
        """Bought, sold [mWh], paid, received [micro] of one household in one interval."""
        column = postings.c
        query = sa.select(*(column[name] for name in _FIGURES)).where(
            column.run == self._run,
            column.interval == interval,
            column.account == self._community + household,
            column.kind == Kind.FILLS,
        )
        with self._engine.connect() as db:
            row = db.execute(query).one_or_none()
        if row is None:
            return 0, 0, 0, 0
        bought, sold, received, paid = (int(x) for x in row)
        return bought, sold, paid, received

    def metered(self, household: int, intervals: Sequence[int]) -> dict[int, int]:
        """Import less export [mWh] of the intervals that are settled, trades included."""
        column = postings.c
        net = sa.func.sum(column.energy_in_milliwh - column.energy_out_milliwh)
        settled = sa.func.sum(sa.case((column.kind.in_(_SETTLED), 1), else_=0))
        query = (
            sa.select(column.interval, net)
            .where(
                column.run == self._run,
                column.account == self._community + household,
                column.interval.in_(intervals),
            )
            .group_by(column.interval)
            .having(settled > 0)
        )
        with self._engine.connect() as db:
            return {int(interval): int(milliwh) for interval, milliwh in db.execute(query)}

    def owed(
        self,
        interval: int,
        settlement: Settlement | None,
        first: int = 0,
        end: int | None = None,
    ) -> Ints:
        """What each household pays [micro], shape (H,), once ``settlement`` of ``interval`` and
        what came late are booked; they may be already. Of the intervals from ``first`` on, until
        ``end``. Compensations and standing charges, which trading does not change, are left out."""
        blocks = list(self._late)
        if settlement is not None:
            blocks += self._settlement_blocks(interval, settlement)
        last = interval if end is None else end - 1
        blocks = [block for block in blocks if first <= block[0, 0] <= last]
        paid = np.zeros(self._accounts + len(self._newcomers), np.int64)
        money = sa.func.sum(postings.c.money_out_micro - postings.c.money_in_micro)
        query = sa.select(postings.c.account, money).where(
            postings.c.run == self._run,
            postings.c.kind.not_in([Kind.COMPENSATION, Kind.STANDING]),
            postings.c.interval.between(first, last),
        )
        with self._engine.connect() as db:
            for account, micro in db.execute(query.group_by(postings.c.account)):
                paid[account] = int(micro)
            for block in [block for block in blocks if not self._booked(db, block)]:
                # Accounts stand once in an entry.
                paid[block[:, _ACCOUNT]] += block[:, _MONEY_OUT] - block[:, _MONEY_IN]
        return paid[self._community :]

    def owed_after(self, seq: int) -> tuple[int, dict[str, int]]:
        """The newest row's ``seq``; what each household pays [micro] by the rows after ``seq``."""
        with self._engine.connect() as db:
            return self._seq, self._owed_by(db, postings.c.seq > seq)

    def owed_since(self, interval: int) -> dict[str, int]:
        """What each household pays [micro] for this interval and later ones."""
        with self._engine.connect() as db:
            return self._owed_by(db, postings.c.interval >= interval)

    def _owed_by(self, db: sa.Connection, where: sa.ColumnElement[bool]) -> dict[str, int]:
        # Summed by number: joined with the names it would take five times as long.
        money = sa.func.sum(postings.c.money_out_micro - postings.c.money_in_micro)
        query = (
            sa.select(postings.c.account, money)
            .where(postings.c.run == self._run, where)
            .group_by(postings.c.account)
        )
        sums = {account: int(micro) for account, micro in db.execute(query)}
        assert self._run is not None
        return {
            account.name: sums.get(account.number, 0)
            for account in _chart(db, self._run)
            if account.number >= self._community
        }

    def compensated(self) -> dict[str, int]:
        """Who received (positive) or gave compensation [micro], by household; empty without one."""
        return self._received(Kind.COMPENSATION)

    def standing_charges(self) -> dict[str, int]:
        """What households paid in standing charges [micro], by name; empty without any."""
        received = self._received(Kind.STANDING)
        return {name: -micro for name, micro in received.items()}

    def _received(self, kind: Kind) -> dict[str, int]:
        column = postings.c
        query = (
            sa.select(accounts.c.name, sa.func.sum(column.money_in_micro - column.money_out_micro))
            .select_from(postings.join(accounts, _same_account()))
            .where(column.run == self._run, column.kind == kind, accounts.c.kind == "household")
            .group_by(accounts.c.name)
        )
        with self._engine.connect() as db:
            return {str(name): int(micro) for name, micro in db.execute(query)}

    def state(self) -> str | None:
        """The state last recorded, None where there is none."""
        with self._engine.connect() as db:
            found = db.scalar(sa.select(states.c.state).where(states.c.run == self._run))
        return None if found is None else str(found)

    def _booked(self, db: sa.Connection, block: Ints) -> bool:
        entry = [int(x) for x in block[0, :_ACCOUNT]]
        revision = int(block[0, _REVISION])
        columns = [postings.c[name] for name in _HASHED[1:]]
        there = db.execute(
            sa.select(*columns)
            .where(
                postings.c.run == self._run,
                *(postings.c[name] == x for name, x in zip(_ENTRY, entry, strict=True)),
                postings.c.revision == revision,
            )
            # By account, as the index has them: by seq SQLite would walk through the whole run.
            .order_by(postings.c.account)
        ).all()
        given = block[np.argsort(block[:, _ACCOUNT])].tolist()
        if there and [tuple(row) for row in there] != [tuple(row) for row in given]:
            raise LedgerError(
                f"{entry_name(*entry[1:])} of interval {entry[0]}: "
                "already booked with other figures"
            )
        return bool(there)

    def _move_head(self, db: sa.Connection, seq: int, head: bytes) -> None:
        db.execute(
            runs.update().where(runs.c.run == self._run).values(head_seq=seq, head_hash=head)
        )

    def truncate_from(self, interval: int) -> int:
        """Forget what ``record(interval, ...)`` and later calls wrote, to play them again.

        Returns the number of rows removed. For resuming from a checkpoint that is older than the
        ledger: fills from ``interval`` on and settlements from ``interval - 1`` on go, and late
        settlements that were booked with them.
        """
        self._late.clear()
        column, of_run = postings.c, postings.c.run == self._run
        with self._engine.begin() as db:
            on_time = sa.and_(of_run, column.late_household == ON_TIME)
            ahead = sa.case(
                (column.kind.in_([Kind.FILLS, Kind.ADMISSION, Kind.STANDING]), 1), else_=0
            )
            first = db.scalar(
                sa.select(sa.func.min(column.seq)).where(
                    on_time, column.interval >= interval - 1 + ahead
                )
            )
            if first is None:
                return 0
            # Late rows stand in front of those they were booked with.
            kept = db.execute(
                sa.select(column.seq, column.hash)
                .where(on_time, column.seq < first)
                .order_by(column.seq.desc())
                .limit(1)
            ).one_or_none()
            admitted = db.scalar(
                sa.select(sa.func.count()).where(
                    of_run, column.seq >= first, column.kind == Kind.ADMISSION
                )
            )
            if admitted:
                raise LedgerError(f"{admitted} households were admitted from row {first} on")
            seq, head = (-1, self._genesis(db)) if kept is None else (kept.seq, bytes(kept.hash))
            removed = db.execute(postings.delete().where(of_run, column.seq > seq)).rowcount
            self._prices.forget(db, interval)
            self._move_head(db, seq, head)
        self._seq, self._hash = seq, head
        return int(removed)

    def _genesis(self, db: sa.Connection) -> bytes:
        row = db.execute(sa.select(runs).where(runs.c.run == self._run)).one()
        return genesis(
            row.name, row.start, row.timezone, _chart(db, int(row.run)), row.interval_minutes
        )

    @property
    def head(self) -> str:
        """Number and hash of the newest posting, as text; -1 before the first."""
        return f"{self._seq}:{self._hash.hex()}"

    def rows(self) -> Iterator[sa.Row[Any]]:
        """The run's postings in order, hashes included."""
        query = sa.select(postings).where(postings.c.run == self._run).order_by(postings.c.seq)
        with self._engine.connect() as db:
            yield from db.execution_options(yield_per=10_000).execute(query)

    def postings_of(self, household: str) -> Ints:
        """One household's postings (n, 7), in order: interval, kind, late household, energy in
        and out, money in and out.

        Raises InputError for a household the run does not have.
        """
        with self._engine.connect() as db:
            account = self._account(db, household)
            columns = [postings.c[name] for name in (*_ENTRY, *_FIGURES)]
            query = sa.select(*columns).where(
                postings.c.run == self._run, postings.c.account == account
            )
            rows = db.execute(query.order_by(postings.c.seq)).all()
        return np.array([tuple(row) for row in rows], np.int64).reshape(-1, len(columns))

    def settled_until(self) -> int:
        """The newest interval whose settlement is booked, -1 before the first.

        Who has no posting in a settlement has drawn and sent what it traded, or its reading has
        not come yet.
        """
        query = sa.select(sa.func.max(postings.c.interval)).where(
            postings.c.run == self._run,
            postings.c.kind == Kind.SETTLEMENT,
            postings.c.late_household == ON_TIME,
        )
        with self._engine.connect() as db:
            newest = db.scalar(query)
        return -1 if newest is None else int(newest)

    def corrected_with(self, household: str) -> Ints:
        """The interval that was booked together with each of a household's revisions, in order."""
        column, later = postings.c, postings.alias().c
        with self._engine.connect() as db:
            rows = db.scalars(
                sa.select(column.seq)
                .where(
                    column.run == self._run,
                    column.account == self._account(db, household),
                    column.kind == Kind.REVISION,
                )
                .order_by(column.seq)
            ).all()
            # What came late stands in front of what it was booked with.
            query = (
                sa.select(later.interval)
                .where(
                    later.run == self._run,
                    later.seq > sa.bindparam("seq"),
                    later.late_household == ON_TIME,
                )
                .order_by(later.seq)
                .limit(1)
            )
            found = [db.scalar(query, {"seq": seq}) for seq in rows]
        return np.array(found, np.int64)

    def _account(self, db: sa.Connection, household: str) -> int:
        account = db.scalar(
            sa.select(accounts.c.account).where(
                accounts.c.run == self._run,
                accounts.c.kind == "household",
                accounts.c.name == household,
            )
        )
        if account is None:
            raise InputError(
                f"household {household!r}: the ledger has no such account; it has {self._some(db)}"
            )
        return int(account)

    def _some(self, db: sa.Connection) -> str:
        """A few of the households, in words."""
        names = db.scalars(
            sa.select(accounts.c.name)
            .where(accounts.c.run == self._run, accounts.c.kind == "household")
            .order_by(accounts.c.account)
        ).all()
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"{', '.join(names[:_NAMED])}{more}"

    def origin(self) -> tuple[str, str]:
        """Start of interval 0 (ISO, UTC; may be empty) and the run's time zone."""
        with self._engine.connect() as db:
            row = db.execute(sa.select(runs).where(runs.c.run == self._run)).one()
        return str(row.start), str(row.timezone)

    @property
    def cadence(self) -> Cadence:
        """How long the run's intervals are."""
        with self._engine.connect() as db:
            query = sa.select(runs.c.interval_minutes).where(runs.c.run == self._run)
            return Cadence(int(db.scalars(query).one()))

    def verify(self) -> Verdict:
        """Recompute the chain and every balance; name the first row that is wrong."""
        with self._engine.connect() as db:
            row = db.execute(sa.select(runs).where(runs.c.run == self._run)).one()
            chart, origin = _chart(db, int(row.run)), self._genesis(db)
        return audit(self.rows(), origin, chart, int(row.head_seq), bytes(row.head_hash))

    def balances(self) -> dict[str, tuple[int, int]]:
        """Per account: (energy in less out [mWh], money in less out [micro])."""
        column = postings.c
        energy = sa.func.sum(column.energy_in_milliwh - column.energy_out_milliwh)
        money = sa.func.sum(column.money_in_micro - column.money_out_micro)
        query = (
            sa.select(accounts.c.name, energy, money)
            .select_from(accounts.outerjoin(postings, _same_account()))
            .where(accounts.c.run == self._run)
            .group_by(accounts.c.account, accounts.c.name)
            .order_by(accounts.c.account)
        )
        with self._engine.connect() as db:
            return {name: (int(e or 0), int(m or 0)) for name, e, m in db.execute(query)}

    # ---- entries, as blocks of postings (rows, 9) --------------------------------------------

    def _fill_rows(self, interval: int, fills: Fills) -> Ints:
        """Postings of trades."""
        local = local_lines(fills.bought, self._local)
        # Each line of a bill is rounded for itself: what that makes is the market's.
        fees = [int(line.sum()) for line in local]
        residue = fills.residue + fills.local_fees - sum(fees)
        grid_in, grid_out = _sides(np.array(fills.grid_received), np.array(fills.grid_paid))
        community = [
            (_LOSS, fills.loss, 0, 0, 0),
            (_MARKET, 0, 0, max(residue, 0), max(-residue, 0)),  # always there: it marks the entry
            (_FEES, 0, 0, fills.fees, 0),
            (_GRID, fills.grid_bought, fills.grid_sold, int(grid_in), int(grid_out)),
            *(
                (number, 0, 0, max(fee, 0), max(-fee, 0))
                for number, fee in enumerate(fees, start=_NETWORK)
            ),
        ]
        return self._entry_rows(
            interval,
            Kind.FILLS,
            ON_TIME,
            [row for row in community if row[0] == _MARKET or any(row[1:])],
            np.column_stack((fills.bought, fills.sold, *_sides(fills.received, fills.paid))),
        )

    def _settlement_blocks(
        self, interval: int, settled: Settlement, late: int = ON_TIME, kind: Kind = Kind.SETTLEMENT
    ) -> list[Ints]:
        """The entry of a settlement and, where anybody owes one, that of the surcharge."""
        figures = (settled.grid_import, settled.grid_export, *_sides(settled.revenue, settled.cost))
        bought, sold, received, paid = (int(figure.sum()) for figure in figures)
        # The grid's row marks the interval.
        grid = [(_GRID, sold, bought, paid, received)]
        blocks = [self._entry_rows(interval, kind, late, grid, np.column_stack(figures))]
        if settled.surcharge is not None and settled.surcharge.charged.any():
            blocks.append(self._surcharge_rows(interval, settled.surcharge, late))
        return blocks

    def _surcharge_rows(self, interval: int, surcharge: Surcharge, late: int) -> Ints:
        """Postings among households; the market keeps what cannot be shared equally."""
        none = np.zeros_like(surcharge.charged)
        kept = int(surcharge.charged.sum() - surcharge.returned.sum())
        households = np.column_stack((none, none, surcharge.returned, surcharge.charged))
        return self._entry_rows(
            interval, Kind.SURCHARGE, late, [(_MARKET, 0, 0, kept, 0)], households
        )

    def _compensation_rows(self, interval: int, transfers: Ints) -> Ints:
        """Postings among households alone."""
        none = np.zeros_like(transfers)
        received, given = np.maximum(transfers, 0), np.maximum(-transfers, 0)
        households = np.column_stack((none, none, received, given))
        return self._entry_rows(interval, Kind.COMPENSATION, ON_TIME, [], households)

    def _standing_rows(self, interval: int, charges: Ints) -> Ints:
        """What the grid's account receives of each household for a day."""
        none = np.zeros_like(charges)
        households = np.column_stack((none, none, none, charges))
        grid = [(_GRID, 0, 0, int(charges.sum()), 0)]
        return self._entry_rows(interval, Kind.STANDING, ON_TIME, grid, households)

    def _entry_rows(
        self,
        interval: int,
        kind: Kind,
        late: int,
        community: Sequence[tuple[int, ...]],
        households: Ints,
        revision: int = 0,
    ) -> Ints:
        busy = np.flatnonzero(households.any(axis=1))
        own = np.column_stack((busy + self._community, households[busy]))
        rows = np.concatenate((np.array(sorted(community), np.int64).reshape(-1, 5), own))
        head = np.broadcast_to(np.array([interval, kind, late], np.int64), (len(rows), 3))
        return np.concatenate((head, rows, np.full((len(rows), 1), revision)), axis=1)


def _sides(received: Ints, paid: Ints) -> tuple[Ints, Ints]:
    """Money in and out, neither negative: at a negative price the receiver pays."""
    return (
        np.maximum(received, 0) + np.maximum(-paid, 0),
        np.maximum(paid, 0) + np.maximum(-received, 0),
    )


def _chain(before: bytes, figures: Ints, newcomers: Sequence[str]) -> list[bytes]:
    """Hashes of rows (n, 10) that follow a row with hash ``before``; newcomers' rows come first."""
    hashes = []
    for i, row in enumerate(figures.tolist()):
        before = link(before, packed(row), newcomers[i] if i < len(newcomers) else "")
        hashes.append(before)
    return hashes


def _chart(db: sa.Connection, run: int) -> list[Account]:
    query = sa.select(accounts).where(accounts.c.run == run).order_by(accounts.c.account)
    return [
        Account(int(x.account), str(x.kind), str(x.name), int(x.since)) for x in db.execute(query)
    ]


def _account_row(run: int | None, account: Account) -> dict[str, object]:
    return {
        "run": run,
        "account": account.number,
        "kind": account.kind,
        "name": account.name,
        "since": account.since,
    }


def _same_account() -> sa.ColumnElement[bool]:
    return sa.and_(postings.c.run == accounts.c.run, postings.c.account == accounts.c.account)


def _sqlite_settings(durable: bool) -> Callable[[sqlite3.Connection, ConnectionPoolEntry], None]:
    def settings(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {'FULL' if durable else 'NORMAL'}",
            "foreign_keys = ON",
            "busy_timeout = 10000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return settings
