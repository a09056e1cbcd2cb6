import numpy as np
import pytest

from common.data.frame import Household
from common.data.store import household_files, read_household, read_span, write_household
from common.errors import InputError
from tests.support.frames import frame


def home(name="B01"):
    readings = frame(rows=48)
    readings["misc"] = np.random.default_rng(0).random(48)
    filled = np.arange(48) == 7
    return Household(name, readings, "Asia/Kolkata", 60, "a meter", True, 1, 30, filled)


def test_what_is_written_is_read_again(tmp_path):
    """Frame, zone, resolution, phase and the record of filled rows survive, bit for bit."""
    path = write_household(home(), tmp_path)
    again = read_household(path)
    assert again.frame.equals(home().frame)
    assert (again.timezone, again.resolution_minutes, again.phase_minutes) == (
        "Asia/Kolkata",
        60,
        30,
    )
    assert again.filled_values == 1
    assert again.filled_rows.tolist() == home().filled_rows.tolist()
    assert read_span(path) == ("B01", "Asia/Kolkata", home().frame.index[0], 48)


def test_export_prices_are_kept(tmp_path):
    """The optional column comes back, and no other household gets one."""
    readings = home().frame.assign(export_price=np.linspace(-0.1, 0.2, 48))
    sold = Household("B02", readings, "UTC")
    assert read_household(write_household(sold, tmp_path)).frame.equals(readings)
    assert read_household(write_household(home(), tmp_path)).export_price is None


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """A file appears whole or not at all, and no scrap stays behind."""

    def fail(table, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("pyarrow.parquet.write_table", fail)
    with pytest.raises(OSError, match=r"B01\.parquet: not written: disk full"):
        write_household(home(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_files_are_named(tmp_path):
    """A truncated file, a text file and a folder are refused in one line that names them."""
    path = write_household(home(), tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"B01.parquet: not a readable Parquet"):
        read_household(path)
    (tmp_path / "x.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"x.parquet"):
        read_household(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="is a directory"):
        read_household(tmp_path)
    frame().to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="fedwatt data import"):
        read_household(tmp_path / "plain.parquet")


def test_a_folder_without_households_is_an_error(tmp_path):
    """Neither a missing nor an empty folder is silently nobody."""
    with pytest.raises(InputError, match="no such folder"):
        household_files(tmp_path / "none")
    with pytest.raises(InputError, match="holds no household files"):
        household_files(tmp_path)
