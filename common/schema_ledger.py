"""The ledger's SQL tables, and the prices that its bills are explained by.

Integers only: mWh, micro, counters; no clock is read.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

runs = sa.Table(
    "ledger_runs",
    metadata,
    sa.Column("run", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(200), nullable=False, unique=True),
    # Start of interval 0, ISO UTC, and the zone bills are cut in: both belong to the data.
    sa.Column("start", sa.String(40), nullable=False),
    sa.Column("timezone", sa.String(64), nullable=False),
    # Last row of the chain, so that a cut tail shows.
    sa.Column("head_seq", sa.BigInteger, nullable=False),
    sa.Column("head_hash", sa.LargeBinary(32), nullable=False),
    sa.Column("interval_minutes", sa.Integer, nullable=False, server_default="30"),
)

accounts = sa.Table(
    "ledger_accounts",
    metadata,
    sa.Column("run", sa.ForeignKey("ledger_runs.run"), primary_key=True),
    sa.Column("account", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    # The interval in which a household was admitted to a running ledger, -1 with the run.
    sa.Column("since", sa.BigInteger, nullable=False, server_default="-1"),
    sa.UniqueConstraint("run", "kind", "name"),
)

# What a live coordinator must know to go on, written with the postings it belongs to.
states = sa.Table(
    "ledger_states",
    metadata,
    sa.Column("run", sa.ForeignKey("ledger_runs.run"), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
)

postings = sa.Table(
    "ledger_postings",
    metadata,
    sa.Column("run", sa.ForeignKey("ledger_runs.run"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("interval", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Integer, nullable=False),  # see fl_server/audit.py
    # Position of the household whose reading came after its interval's, -1 in all other entries.
    sa.Column("late_household", sa.Integer, nullable=False),
    sa.Column("account", sa.Integer, nullable=False),
    sa.Column("energy_in_milliwh", sa.BigInteger, nullable=False),
    sa.Column("energy_out_milliwh", sa.BigInteger, nullable=False),
    sa.Column("money_in_micro", sa.BigInteger, nullable=False),
    sa.Column("money_out_micro", sa.BigInteger, nullable=False),
    # Which settlement of a late household's interval this is: 0 but for those that replace another.
    sa.Column("revision", sa.Integer, nullable=False, server_default="0"),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.UniqueConstraint(
        "run",
        "interval",
        "kind",
        "late_household",
        "revision",
        "account",
        name="ledger_postings_entries",
    ),
    sa.ForeignKeyConstraint(["run", "account"], ["ledger_accounts.run", "ledger_accounts.account"]),
)

# What a kWh and a day cost in an interval, part by part (fl_server/prices.py PriceList): what the
# lines of a bill are computed from. The postings, which hold, do not depend on them.
price_lists = sa.Table(
    "bill_prices",
    metadata,
    sa.Column("run", sa.ForeignKey("ledger_runs.run"), primary_key=True),
    sa.Column("interval", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("list", sa.Integer, primary_key=True, autoincrement=False),
    *(
        sa.Column(f"{part}_micro", sa.BigInteger, nullable=False)
        for part in (
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
    ),
)

# Which list an account has from an interval on.
price_members = sa.Table(
    "bill_members",
    metadata,
    sa.Column("run", sa.ForeignKey("ledger_runs.run"), primary_key=True),
    sa.Column("account", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("since", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("list", sa.Integer, nullable=False),
)
