"""Settlements that replace another: the revision of an entry, 0 for all there were before."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_UNNAMED = "uq_ledger_postings"
_ENTRIES = ["run", "interval", "kind", "late_household", "revision", "account"]


def upgrade() -> None:
    """Add the column, unless a run of this release has made the tables by itself."""
    there = sa.inspect(op.get_bind())
    if "revision" in {column["name"] for column in there.get_columns("ledger_postings")}:
        return
    [old] = there.get_unique_constraints("ledger_postings")
    with op.batch_alter_table("ledger_postings", naming_convention={"uq": _UNNAMED}) as table:
        table.add_column(sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
        table.drop_constraint(old["name"] or _UNNAMED, type_="unique")
        table.create_unique_constraint("ledger_postings_entries", _ENTRIES)


def downgrade() -> None:
    """There is no way back: what was revised would stand there twice."""
