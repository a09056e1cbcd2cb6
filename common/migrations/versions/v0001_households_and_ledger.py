"""Households, readings, prices, weather and the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_APPLIANCES = (
    "fridge",
    "washing_machine",
    "dishwasher",
    "ev_charging",
    "ac",
    "stove",
    "water_heater",
    "computers",
    "misc",
)


def upgrade() -> None:
    """Create the tables. The ledger's may be there already: a run creates them by itself."""
    name, time = sa.String(64), sa.DateTime(timezone=True)
    op.create_table(
        "households",
        sa.Column("name", name, primary_key=True),
        sa.Column("owner", sa.String(63)),
        sa.Column("area", name, nullable=False, server_default="home"),
        sa.Column("timezone", name, nullable=False, server_default="UTC"),
        sa.Column("resolution_minutes", sa.Integer, nullable=False, server_default="30"),
        sa.Column("phase_minutes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("source", sa.Text, nullable=False, server_default=""),
        sa.Column("real", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.create_table(
        "readings",
        sa.Column("household", name, sa.ForeignKey("households.name"), primary_key=True),
        sa.Column("time", time, primary_key=True),
        *(
            sa.Column(c, sa.Double, nullable=False, server_default="0.0")
            for c in (*_APPLIANCES, "pv")
        ),
        sa.Column("filled", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "prices",
        sa.Column("area", name, primary_key=True),
        sa.Column("time", time, primary_key=True),
        sa.Column("price", sa.Double, nullable=False),
    )
    op.create_table(
        "weather",
        sa.Column("area", name, primary_key=True),
        sa.Column("time", time, primary_key=True),
        sa.Column("temperature", sa.Double, nullable=False),
        sa.Column("solar_irradiance", sa.Double, nullable=False),
    )
    op.create_table(
        "ledger_runs",
        sa.Column("run", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("start", sa.String(40), nullable=False),
        sa.Column("timezone", name, nullable=False),
        sa.Column("head_seq", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.LargeBinary(32), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "ledger_accounts",
        sa.Column("run", sa.Integer, sa.ForeignKey("ledger_runs.run"), primary_key=True),
        sa.Column("account", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.UniqueConstraint("run", "kind", "name"),
        if_not_exists=True,
    )
    op.create_table(
        "ledger_postings",
        sa.Column("run", sa.Integer, sa.ForeignKey("ledger_runs.run"), primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("interval", sa.BigInteger, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        *(
            sa.Column(c, sa.BigInteger, nullable=False)
            for c in ("energy_in_mwh", "energy_out_mwh", "money_in_micro", "money_out_micro")
        ),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.UniqueConstraint("run", "interval", "entry", "account"),
        sa.ForeignKeyConstraint(
            ["run", "account"], ["ledger_accounts.run", "ledger_accounts.account"]
        ),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Remove the household tables; the ledger stays, for it is an account of money."""
    for table in ("weather", "prices", "readings", "households"):
        op.drop_table(table)
