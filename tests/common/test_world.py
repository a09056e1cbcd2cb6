"""What the world does to a command is one line and status 1; a bug still shows where it is."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
import typer

from common import console
from common.errors import InputError, RunError


def _database() -> None:
    sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none").connect()


def _raise(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        (_raise(InputError("wrong key")), 2, "wrong key"),
        (_raise(RunError("an actor is gone")), 1, "an actor is gone"),
        (_raise(OSError(28, "No space left on device", "/x/y")), 1, "/x/y: No space left"),
        (_raise(PermissionError(13, "Permission denied", "/x")), 1, "/x: Permission denied"),
        (_raise(sqlite3.OperationalError("database or disk is full")), 1, "disk is full"),
        (_database, 1, "the database: "),
    ],
)
def test_one_line(
    work: Callable[[], None], status: int, said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The line names the program and the cause."""
    monkeypatch.setattr("sys.argv", ["prog"])
    app = typer.Typer()
    app.command()(work)
    with pytest.raises(SystemExit) as ended:
        console.run(app, "prog")
    assert ended.value.code == status
    err = capsys.readouterr().err
    assert err.startswith("prog: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what no code can mend is told without its place."""
    monkeypatch.setattr("sys.argv", ["prog"])
    app = typer.Typer()
    app.command()(_raise(KeyError("x")))
    with pytest.raises(KeyError):
        console.run(app, "prog")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "/runs/a: No space left on device"),
        (sqlite3.OperationalError("database or disk is full"), "/runs/a: a SQLite file: "),
        (OSError(28, "No space left on device", "/runs/a/x"), "/runs/a/x: No space left"),
        (InputError("wrong key"), "wrong key"),
    ],
)
def test_the_folder_that_is_written_to_is_named(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A full disk says which: once, and a user's mistake stays what it is."""

    def work() -> None:
        with console.writing_to(Path("/runs/a")):
            raise error

    monkeypatch.setattr("sys.argv", ["prog"])
    app = typer.Typer()
    app.command()(work)
    with pytest.raises(SystemExit):
        console.run(app, "prog")
    err = capsys.readouterr().err
    assert err.startswith(f"prog: {said}")
    assert err.count("\n") == 1
