"""An entry's kind and late household in columns of their own; energy named in milliwatt-hours.

Ledgers are carried over row by row: the same intervals, accounts and figures, chained anew from a
first hash that names the new form. One whose old chain is broken is refused, for the new one would
hide that.
"""

import hashlib
import json
import struct
from typing import Any

import sqlalchemy as sa
from alembic import op

from common.errors import InputError

revision = "0004"
down_revision = "0003"

_SURCHARGE, _COMPENSATION, _LATE = 1 << 30, (1 << 31) - 1, 2
_OLD_ROW, _NEW_ROW = struct.Struct(">8q"), struct.Struct(">9q")
_FIGURES = ("money_in_micro", "money_out_micro")
_BATCH = 10_000


def split(entry: int) -> tuple[int, int]:
    """The kind and the late household that an old entry's number meant."""
    if entry == _COMPENSATION:
        return 3, -1
    if entry >= _SURCHARGE:
        return 2, entry - _SURCHARGE - 1
    if entry >= _LATE:
        return 0, entry - _LATE
    return entry, -1


def upgrade() -> None:
    """Carry the ledgers over, unless a run of this release has made the tables by itself."""
    db = op.get_bind()
    there = sa.inspect(db)
    if "since" not in {column["name"] for column in there.get_columns("ledger_accounts")}:
        since = sa.Column("since", sa.BigInteger, nullable=False, server_default="-1")
        op.add_column("ledger_accounts", since)
    if "late_household" in {column["name"] for column in there.get_columns("ledger_postings")}:
        return
    policies = _policies(db)
    op.rename_table("ledger_postings", "ledger_postings_before")
    op.create_table(
        "ledger_postings",
        sa.Column("run", sa.Integer, sa.ForeignKey("ledger_runs.run"), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("interval", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("late_household", sa.Integer, nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        *(
            sa.Column(c, sa.BigInteger, nullable=False)
            for c in ("energy_in_milliwh", "energy_out_milliwh", *_FIGURES)
        ),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("run", "seq", name="ledger_postings_rows"),
        sa.UniqueConstraint("run", "interval", "kind", "late_household", "account"),
        sa.ForeignKeyConstraint(
            ["run", "account"], ["ledger_accounts.run", "ledger_accounts.account"]
        ),
    )
    for run in db.execute(sa.text("select * from ledger_runs order by run")).mappings().all():
        _carry_over(db, run)
    op.drop_table("ledger_postings_before")
    for policy in policies:
        op.execute(policy)


def downgrade() -> None:
    """There is no way back: the old chain is gone."""


def _carry_over(db: sa.Connection, run: Any) -> None:
    accounts = db.execute(
        sa.text("select kind, name from ledger_accounts where run = :run order by account"),
        {"run": run["run"]},
    )
    told = [run["name"], run["start"], run["timezone"], [(str(k), str(n)) for k, n in accounts]]
    old = hashlib.sha256(json.dumps(told).encode()).digest()
    new = hashlib.sha256(json.dumps(["fedwatt ledger 2", *told]).encode()).digest()
    insert = sa.text(
        "insert into ledger_postings (run, seq, interval, kind, late_household, account, "
        "energy_in_milliwh, energy_out_milliwh, money_in_micro, money_out_micro, hash) values "
        "(:run, :seq, :interval, :kind, :late, :account, :e_in, :e_out, :m_in, :m_out, :hash)"
    )
    for seq in range(0, run["head_seq"] + 1, _BATCH):
        rows = db.execute(
            sa.text(
                "select seq, interval, entry, account, energy_in_mwh, energy_out_mwh, "
                "money_in_micro, money_out_micro, hash from ledger_postings_before "
                "where run = :run and seq >= :first and seq < :last order by seq"
            ),
            {"run": run["run"], "first": seq, "last": seq + _BATCH},
        ).all()
        carried = []
        for expected, (*figures, stored) in enumerate(rows, seq):
            old = hashlib.sha256(old + _OLD_ROW.pack(*figures)).digest()
            if old != bytes(stored) or figures[0] != expected:
                raise InputError(
                    f"ledger: run {run['name']!r}: row {expected} is not what was booked; "
                    "this ledger is not carried over"
                )
            _, interval, entry, account, *flows = figures
            kind, late = split(entry)
            row = (expected, interval, kind, late, account, *flows)
            new = hashlib.sha256(new + _NEW_ROW.pack(*row)).digest()
            names = ["seq", "interval", "kind", "late", "account", "e_in", "e_out", "m_in", "m_out"]
            carried.append(dict(zip(names, row, strict=True)) | {"run": run["run"], "hash": new})
        if carried:
            db.execute(insert, carried)
        if len(rows) != min(_BATCH, run["head_seq"] + 1 - seq):
            raise InputError(
                f"ledger: run {run['name']!r}: it has not the rows it tells of; "
                "this ledger is not carried over"
            )
    if old != bytes(run["head_hash"]):
        raise InputError(
            f"ledger: run {run['name']!r}: its last row is not the one it tells of; "
            "this ledger is not carried over"
        )
    db.execute(
        sa.text("update ledger_runs set head_hash = :head where run = :run"),
        {"head": new, "run": run["run"]},
    )


def _policies(db: sa.Connection) -> list[str]:
    """Statements that give the new table what the old one allows; PostgreSQL alone has such."""
    if db.dialect.name != "postgresql":
        return []
    statements = []
    secured = db.scalar(
        sa.text("select relrowsecurity from pg_class where oid = 'ledger_postings'::regclass")
    )
    if secured:
        statements.append("alter table ledger_postings enable row level security")
    granted = sa.text(
        "select grantee, privilege_type from information_schema.role_table_grants "
        "where table_name = 'ledger_postings' and table_schema = current_schema()"
    )
    for grantee, privilege in db.execute(granted):
        statements.append(f'grant {privilege} on ledger_postings to "{grantee}"')
    policy = sa.text(
        "select policyname, cmd, array_to_string(roles, '\", \"'), qual, with_check "
        "from pg_policies where tablename = 'ledger_postings' and schemaname = current_schema()"
    )
    for name, command, roles, using, check in db.execute(policy):
        text = f'create policy "{name}" on ledger_postings for {command} to "{roles}"'
        text += f" using ({using})" if using else ""
        statements.append(text + (f" with check ({check})" if check else ""))
    return statements
