"""How long the intervals of a run are: half an hour for all there were before."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column, unless a run of this release has made the tables by itself."""
    there = sa.inspect(op.get_bind())
    if "interval_minutes" in {column["name"] for column in there.get_columns("ledger_runs")}:
        return
    with op.batch_alter_table("ledger_runs") as table:
        table.add_column(
            sa.Column("interval_minutes", sa.Integer, nullable=False, server_default="30")
        )


def downgrade() -> None:
    """There is no way back: a run of other intervals would be billed at wrong times."""
