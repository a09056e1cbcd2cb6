"""Homes in rows of other lengths: no energy is lost or made, and no row is known too early."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cadence import Cadence
from common.data.frame import FLOWS, Household
from common.data.importing import import_files
from common.data.readings import Options
from common.data.regrid import regrid
from common.data.store import read_household, read_span, write_household
from common.data.synthetic import generate
from common.errors import InputError

FIRST = pd.Timestamp("2024-03-01", tz="UTC")
LENGTHS = (5, 10, 15, 30, 60)


@given(
    minutes=st.sampled_from(LENGTHS),
    new=st.sampled_from(LENGTHS),
    skip=st.integers(0, 11).map(lambda n: 5 * n),
)
def test_rows_of_one_length_are_those_of_another(minutes: int, new: int, skip: int) -> None:
    """Minute by minute: a row of the new grid holds the energy of its minutes, the mean of their
    levels and the state of the last, and no row is made of part of its minutes."""
    values = np.random.default_rng(minutes).normal(size=(24, 2))
    by_minute = np.repeat(values, minutes, axis=0)[skip:]
    rows = len(by_minute) // new
    inside = by_minute[: rows * new].reshape(rows, new, 2)
    expected = {
        "energy": inside.sum(axis=1) / minutes,
        "level": inside.mean(axis=1),
        "state": inside[:, -1],
    }
    for how, wanted in expected.items():
        assert regrid(values, minutes, new, skip, how) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("minutes", LENGTHS)
def test_a_home_keeps_its_energy_and_its_prices(minutes: int) -> None:
    """A year's days in rows of another length: each flow's total, the mean price and the marks of
    filled hours stay, and a file gives back what was written."""
    home = generate("H0001", seed=5, first=FIRST, intervals=30 * 48)
    one = home.at(Cadence(minutes), FIRST)
    assert one.interval_minutes == minutes
    assert len(one.frame) == 30 * 1440 // minutes
    for column in FLOWS:
        assert one.frame[column].sum() == pytest.approx(home.frame[column].sum(), rel=1e-9)
    assert one.frame["price"].mean() == pytest.approx(home.frame["price"].mean(), rel=1e-9)
    back = one.half_hours()
    if minutes <= 30:
        assert np.allclose(back.frame, home.frame, atol=1e-9)


@pytest.mark.parametrize("minutes", LENGTHS)
def test_a_file_gives_back_its_rows(tmp_path: Path, minutes: int) -> None:
    """Rows of any length are read as they were written; what asks for the span hears half hours."""
    one = generate("H0001", seed=5, first=FIRST, intervals=4 * 48).at(Cadence(minutes), FIRST)
    read = read_household(write_household(one, tmp_path))
    assert read.interval_minutes == minutes
    assert read.resolution_minutes == max(minutes, 30)
    assert read.frame.equals(one.frame)
    assert read_span(tmp_path / "H0001.parquet")[3] == 4 * 48


@given(
    rows=st.sampled_from(LENGTHS), source=st.sampled_from(LENGTHS), t=st.integers(0, 47),
    begin=st.sampled_from((0, 30)),
)  # fmt: skip
def test_a_row_is_known_when_its_reading_is_over(
    rows: int, source: int, t: int, begin: int
) -> None:
    """Of readings every so many minutes: when row t begins, every row is known that lies wholly in
    readings that have ended, and no other."""
    first = FIRST + pd.Timedelta(minutes=begin)
    home = HOME.at(Cadence(5), FIRST)
    fine = Household(
        "H0001", home.frame, "UTC", resolution_minutes=max(source, 5), interval_minutes=5
    )
    one = fine.at(Cadence(rows), first)
    start = int(one.frame.index[0].timestamp()) // 60
    now = start + t * rows
    ended = now // source * source  # the newest end of a reading
    assert one.known(t) == max(0, min(t, (ended - start) // rows))
    assert one.lags(t + 1)[t] == t - one.known(t)


HOME = generate("H0001", seed=5, first=FIRST, intervals=3 * 48)


def table(path: Path, step: int, days: int = 12) -> Path:
    """A meter that reads every ``step`` minutes."""
    times = pd.date_range(FIRST, periods=days * 1440 // step, freq=f"{step}min")
    kwh = np.random.default_rng(step).uniform(0.01, 0.2, len(times))
    rows = zip(times.strftime("%Y-%m-%dT%H:%M:%SZ"), kwh, strict=True)
    path.write_text("timestamp,consumption\n" + "".join(f"{t},{x:.4f}\n" for t, x in rows))
    return path


@pytest.mark.parametrize("step", [5, 15, 30, 60])
@pytest.mark.parametrize("minutes", [5, 15, 30])
def test_an_import_keeps_rows_as_short_as_asked_for(
    tmp_path: Path, step: int, minutes: int
) -> None:
    """Shorter readings are summed per row, longer ones spread and known when they are over; no
    kWh is lost, and none is called filled."""
    file = table(tmp_path / "home.csv", step)
    report = import_files(
        [file], tmp_path / "out", options=Options(name="home"), cadence=Cadence(minutes)
    )
    assert not report.refused
    home = read_household(tmp_path / "out" / "home.parquet")
    assert home.interval_minutes == minutes
    assert home.resolution_minutes == max(step, minutes)
    assert home.phase_minutes == 0
    assert not home.filled_rows.any()
    values = np.array([float(line.split(",")[1]) for line in file.read_text().split()[1:]])
    assert home.consumption == pytest.approx(regrid(values, step, minutes, 0, "energy"), abs=1e-9)


def test_other_rows_are_refused(tmp_path: Path) -> None:
    """Rows that do not divide the hour are none of a run's."""
    with pytest.raises(InputError, match="intervals of 20 minutes"):
        import_files([table(tmp_path / "home.csv", 5)], tmp_path / "out", cadence=Cadence(20))
