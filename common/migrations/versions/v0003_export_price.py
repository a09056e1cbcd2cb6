"""Prices of export beside those of import; null where there are none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("prices", sa.Column("export_price", sa.Double))


def downgrade() -> None:
    """Leave it: it holds what somebody brought in."""
