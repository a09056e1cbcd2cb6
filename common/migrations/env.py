"""Alembic's entry: runs migrations on the connection it is given (see common/database.py)."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
