"""What a household has recorded stays, whatever run a coordinator names."""

import sqlite3
from pathlib import Path

import pytest

from common.errors import InputError
from fl_client import state as states
from fl_client.state import State


def test_another_run_keeps_the_record_of_the_one_before(tmp_path: Path) -> None:
    """Announced fills stay provable: the old file lies beside the new one, under its run's name."""
    state = State(tmp_path, durable=True)
    state.begin({"run": "first/../run"}, 0)
    assert state.announce(3, (1, 2, 3, 4))
    state.begin({"run": "other"}, 0)
    assert state.announced(3) is None
    state.close()
    [kept] = tmp_path.glob("household-*.sqlite")
    assert kept.name == "household-first____run.sqlite"
    with sqlite3.connect(kept) as db:
        assert db.execute("SELECT * FROM announced").fetchall() == [(3, 1, 2, 3, 4)]


def test_the_same_run_with_another_start_is_another_run(tmp_path: Path) -> None:
    """What is told of a run beside its name cannot be changed to empty the file either."""
    state = State(tmp_path, durable=True)
    for start in ("a", "b", "c"):
        state.begin({"run": "one", "start": start}, 0)
        state.announce(1, (1, 0, 0, 0))
    state.close()
    names = sorted(file.name for file in tmp_path.glob("household-*.sqlite"))
    assert names == ["household-one-2.sqlite", "household-one.sqlite"]


def test_a_run_in_which_nothing_happened_leaves_nothing(tmp_path: Path) -> None:
    """Names alone do not fill a disk."""
    state = State(tmp_path, durable=True)
    for run in range(5):
        state.begin({"run": str(run)}, 0)
    state.close()
    assert not list(tmp_path.glob("household-*.sqlite"))


def test_a_coordinator_cannot_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many runs the household refuses to join another, and keeps what it has."""
    monkeypatch.setattr(states, "_MOST_KEPT", 3)
    state = State(tmp_path, durable=True)
    for run in range(4):
        state.begin({"run": str(run)}, 0)
        state.announce(1, (1, 0, 0, 0))
    with pytest.raises(InputError, match="3 other runs"):
        state.begin({"run": "more"}, 0)
    assert state.about() == {"run": "3"}
    state.close()
