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
    _open_to_roles()


def _open_to_roles() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    has = sa.text("select count(*) from pg_roles where rolname = 'fedwatt_coordinator'")
    if op.get_bind().scalar(has):
        # A shared project (configs/sql/shared_project.sql) whose policies are from before.
        for statement in _POLICIES:
            op.execute(statement)


_POLICIES = (
    "alter table bill_prices enable row level security",
    "alter table bill_members enable row level security",
    "grant select on bill_prices, bill_members to fedwatt_household",
    "grant select, insert, update, delete on bill_prices, bill_members to fedwatt_coordinator",
    "create policy own_lists on bill_members for select to fedwatt_household "
    "using ((run, account) in (select a.run, a.account from ledger_accounts a))",
    "create policy own_prices on bill_prices for select to fedwatt_household "
    "using (exists (select from bill_members m where m.run = bill_prices.run "
    "and m.list = bill_prices.list and m.since <= bill_prices.interval))",
    "create policy coordinator on bill_prices to fedwatt_coordinator "
    "using (true) with check (true)",
    "create policy coordinator on bill_members to fedwatt_coordinator "
    "using (true) with check (true)",
)
