"""The SQL tables of household data. Times are interval starts in UTC, energy is kWh per half hour.

Migrations in ``common/migrations`` create them together with the ledger's.
"""

import sqlalchemy as sa

from common.data.frame import APPLIANCES

metadata = sa.MetaData()
NAME = sa.String(64)
TIME = sa.DateTime(timezone=True)

households = sa.Table(
    "households",
    metadata,
    sa.Column("name", NAME, primary_key=True),
    # The database role that may see the rows, where several households share a database.
    sa.Column("owner", sa.String(63)),
    # Whose prices and weather apply.
    sa.Column("area", NAME, nullable=False, server_default="home"),
    sa.Column("timezone", NAME, nullable=False, server_default="UTC"),
    sa.Column("resolution_minutes", sa.Integer, nullable=False, server_default="30"),
    sa.Column("phase_minutes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("source", sa.Text, nullable=False, server_default=""),
    sa.Column("real", sa.Boolean, nullable=False, server_default=sa.true()),
)

readings = sa.Table(
    "readings",
    metadata,
    sa.Column("household", sa.ForeignKey("households.name"), primary_key=True),
    sa.Column("time", TIME, primary_key=True),
    *(sa.Column(c, sa.Double, nullable=False, server_default="0.0") for c in (*APPLIANCES, "pv")),
    sa.Column("filled", sa.Boolean, nullable=False, server_default=sa.false()),
)

prices = sa.Table(
    "prices",
    metadata,
    sa.Column("area", NAME, primary_key=True),
    sa.Column("time", TIME, primary_key=True),
    sa.Column("price", sa.Double, nullable=False),
    sa.Column("export_price", sa.Double),
)

weather = sa.Table(
    "weather",
    metadata,
    sa.Column("area", NAME, primary_key=True),
    sa.Column("time", TIME, primary_key=True),
    sa.Column("temperature", sa.Double, nullable=False),
    sa.Column("solar_irradiance", sa.Double, nullable=False),
)
