"""The prices that the lines of a bill are computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_PARTS = (
    "energy",
    "markup",
    "network",
    "levies",
    "vat",
    "export",
    "local_network",
    "local_levies",
    "local_vat",
    "standing",
    "standing_vat",
)


def upgrade() -> None:
    """Create the tables, unless a run has done so by itself."""
    op.create_table(
        "bill_prices",
        sa.Column("run", sa.Integer, sa.ForeignKey("ledger_runs.run"), primary_key=True),
        sa.Column("interval", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("list", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(f"{part}_micro", sa.BigInteger, nullable=False) for part in _PARTS),
        if_not_exists=True,
    )
    op.create_table(
        "bill_members",
        sa.Column("run", sa.Integer, sa.ForeignKey("ledger_runs.run"), primary_key=True),
        sa.Column("account", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("since", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("list", sa.Integer, nullable=False),
        if_not_exists=True,
    )
