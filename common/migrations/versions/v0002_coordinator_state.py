"""What a live coordinator goes on from, written with the postings it belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table, unless a run has done so by itself."""
    op.create_table(
        "ledger_states",
        sa.Column("run", sa.Integer, sa.ForeignKey("ledger_runs.run"), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Leave it: a run may need it."""
