"""Changes of the SQL schema, by alembic."""
