"""A household's own file: written once, found again, and carried over from older releases."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from fl_client.state import QUANTITIES, State


def row(t: int) -> tuple[object, ...]:
    """An interval whose quantities are all different."""
    return (t, f"time {t}", 1, *(t + i / 100 for i in range(len(QUANTITIES))))


def filled(directory: Path) -> State:
    """A file with three intervals, a plan, orders and an announced fill."""
    state = State(directory, durable=True)
    state.begin({"run": "r"}, 0)
    plan = (2, np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0]))
    state.put([row(t) for t in range(3)], [], plan, 0, np.array([[1, 5, 7]]))
    state.announce(2, (10, 0, 3, 0), (500, 9))
    return state


def aged(directory: Path, version: int) -> None:
    """Turn the file into what an older release wrote."""
    with closing(sqlite3.connect(directory / "household.sqlite")) as db:
        if version == 1:
            db.execute("DROP TABLE allowed")
        else:
            db.execute("ALTER TABLE allowed RENAME COLUMN milliwh TO mwh")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_release_goes_on(tmp_path: Path, version: int) -> None:
    """Everything it held is there, under this release's names, and it takes new allowances."""
    filled(tmp_path).close()
    aged(tmp_path, version)
    state = State(tmp_path, durable=True)
    assert state.rows() == [row(t) for t in range(3)]
    assert state.announced(2) == (10, 0, 3, 0)
    assert state.allowed(2) == ((500, 9) if version == 2 else None)
    assert state.announce(3, (0, 0, 0, 0), (7, 8))
    assert state.allowed(3) == (7, 8)
    state.close()
    assert State(tmp_path, durable=True).allowed(3) == (7, 8)


def test_a_quantity_that_an_older_release_did_not_know_is_unknown(tmp_path: Path) -> None:
    """Its column is added, empty, and the others keep their values whatever their order."""
    filled(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "household.sqlite")) as db:
        db.execute("ALTER TABLE intervals DROP COLUMN pv")
        db.execute("ALTER TABLE plans DROP COLUMN unaided")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    state = State(tmp_path, durable=True)
    found, plan = state.rows(), state.plan(2)
    assert plan is not None
    assert plan[2] is None
    assert plan[1].tolist() == [3.0, 4.0]
    place = 3 + QUANTITIES.index("pv")
    assert [one[place] for one in found] == [None] * 3
    assert [one[:place] + one[place + 1 :] for one in found] == [
        row(t)[:place] + row(t)[place + 1 :] for t in range(3)
    ]


def test_a_file_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    """It is refused in a line that says what to do, and not a byte of it is changed."""
    filled(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "household.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    before = (tmp_path / "household.sqlite").read_bytes()
    with pytest.raises(InputError, match=r"household.sqlite: written by a newer release"):
        State(tmp_path, durable=False)
    assert before[100:] == (tmp_path / "household.sqlite").read_bytes()[100:]


def test_what_is_put_twice_is_there_once(tmp_path: Path) -> None:
    """Writing is idempotent by interval; a run resumed earlier forgets what came later."""
    state = filled(tmp_path)
    state.put([row(2)])
    assert state.rows() == [row(t) for t in range(3)]
    plan = state.plan(2)
    assert plan is not None
    assert [part.tolist() for part in plan if part is not None] == [
        [1.0, 2.0], [3.0, 4.0], [5.0, 6.0],
    ]  # fmt: skip
    orders = state.orders(2)
    assert orders is not None
    assert orders.tolist() == [[1, 5, 7]]
    state.begin({"run": "r"}, 2)
    assert state.newest() == 1
    assert state.rows() == [row(0), (*row(1)[:2], 0, *row(1)[3:])]
    assert (state.plan(2), state.orders(2), state.announced(2), state.allowed(2)) == (None,) * 4
    state.begin({"run": "another"}, 0)
    assert state.rows() == []


def test_what_was_told_first_holds(tmp_path: Path) -> None:
    """A second, other fill or allowance for the same interval is not believed."""
    state = filled(tmp_path)
    assert state.announce(2, (10, 0, 3, 0), (500, 9))
    assert not state.announce(2, (11, 0, 3, 0), (500, 9))
    assert not state.announce(2, (10, 0, 3, 0), (501, 9))
    assert (state.announced(2), state.allowed(2)) == ((10, 0, 3, 0), (500, 9))
