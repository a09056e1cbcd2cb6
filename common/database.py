"""Connections to SQLite and PostgreSQL, and the version of the schema.

A URL never holds a password: libpq takes it from PGPASSWORD or a pgpass file, so it reaches no
command line and no log. Server-side prepared statements are off, as Supabase's transaction pooler
(port 6543) wants it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from common.errors import InputError

_POSTGRES = {"postgres", "postgresql", "postgresql+psycopg"}
_CONNECT_S = 10
_MIGRATIONS = Path(__file__).parent / "migrations"


def parse_url(text: str) -> sa.URL:
    """Return the URL with the driver that is used. Raises InputError without showing a secret."""
    url = _url(text)
    if has_password(url):
        raise InputError(
            f"database {shown(url)}: no password in a URL; put it into PGPASSWORD or a pgpass file"
        )
    if url.drivername in _POSTGRES:
        url = url.set(drivername="postgresql+psycopg")
        hosted = (url.host or "").endswith((".supabase.co", ".supabase.com"))
        if hosted and "sslmode" not in url.query:
            url = url.update_query_dict({"sslmode": "require"})
        return url
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        return url
    raise InputError(f"database {shown(url)}: known: postgresql://, sqlite:///")


def _url(text: sa.URL | str) -> sa.URL:
    try:
        return sa.make_url(text)
    except sa.exc.ArgumentError:
        raise InputError("database URL: not of the form postgresql://user@host/name") from None


def has_password(text: sa.URL | str) -> bool:
    """Whether a URL holds a password. Raises InputError where it is none."""
    url = _url(text)
    return url.password is not None or "password" in url.query


def shown(url: sa.URL | str) -> str:
    """Return a URL fit for messages: no password, no options."""
    try:
        url = sa.make_url(url)
    except sa.exc.ArgumentError:
        return "(not a URL)"
    host = f"{url.host}{'' if url.port is None else f':{url.port}'}" if url.host else ""
    user = f"{url.username}@" if url.username and host else ""
    return f"{url.get_backend_name()}://{user}{host}/{url.database or ''}"


def engine(text: str) -> sa.Engine:
    """Return an engine for a URL; nothing is connected yet."""
    url = parse_url(text)
    if url.get_backend_name() == "sqlite":
        return sa.create_engine(url)
    options = {"prepare_threshold": None, "connect_timeout": _CONNECT_S}
    return sa.create_engine(url, connect_args=options, pool_pre_ping=True)


@contextmanager
def one_line(db: sa.Engine) -> Iterator[None]:
    """Turn a database's complaint into one InputError line that names the database."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error)
        # libpq repeats itself per address; the last line says why.
        lines = [line.strip() for line in cause.splitlines() if line.strip()]
        reason = next((line for line in lines if "FATAL" in line or "ERROR" in line), lines[0])
        raise InputError(f"database {shown(db.url)}: {reason[:240]}") from None


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def newest_version() -> str:
    """Return the schema version this release works with."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def version(db: sa.Engine) -> str | None:
    """Return the schema version of a database; None: no schema of fedwatt."""
    with one_line(db), db.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def require_version(db: sa.Engine) -> None:
    """Raise InputError unless the schema is the one of this release."""
    there, needed = version(db), newest_version()
    if there is None:
        raise InputError(
            f"database {shown(db.url)}: holds no schema of fedwatt; create it with "
            "'fedwatt data migrate URL'"
        )
    if there != needed:
        raise InputError(
            f"database {shown(db.url)}: schema version {there}, this release needs {needed}; "
            "'fedwatt data migrate URL' brings an older one up to date"
        )


def migrate(db: sa.Engine) -> tuple[str | None, str]:
    """Bring the schema to the newest version, in one transaction; return (before, after)."""
    before = version(db)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if before is not None and before not in known:
        raise InputError(
            f"database {shown(db.url)}: schema version {before} is newer than this release"
        )
    with one_line(db), db.begin() as connection:
        command.upgrade(_config(connection), "head")
    return before, newest_version()
