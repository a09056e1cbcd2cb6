import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.resample import HALF_HOUR_S, fill_gaps, spread, to_utc

ENERGY = st.floats(0, 50, allow_subnormal=False)


@st.composite
def readings(draw):
    """Consecutive or gapped readings of any lengths from a second to three hours."""
    size = draw(st.integers(1, 60))
    lengths = draw(st.lists(st.integers(1, 3 * 3600), min_size=size, max_size=size))
    pauses = draw(st.lists(st.integers(0, 5000), min_size=size, max_size=size))
    begin = draw(st.integers(0, 2_000_000_000))
    ends = begin + np.cumsum(np.add(lengths, pauses))
    values = draw(st.lists(ENERGY, min_size=size, max_size=size))
    return ends - lengths, np.array(lengths), np.array(values)


@given(readings())
def test_energy_in_equals_energy_out(given_):
    """Whatever the lengths, offsets and gaps, the half hours hold all the energy, no half hour is
    covered by more than itself, and all time read is accounted for."""
    start, seconds, value = given_
    grid = spread(start, seconds, value)
    assert grid.total.sum() == pytest.approx(value.sum(), rel=1e-9, abs=1e-9)
    assert grid.covered.max() <= HALF_HOUR_S + 1e-6
    assert grid.covered.sum() == pytest.approx(seconds.sum())
    assert (grid.total >= 0).all()


@given(readings(), st.integers(0, 30))
def test_cutting_readings_finer_changes_nothing(given_, cuts):
    """Splitting every reading evenly into parts gives the same half hours."""
    start, seconds, value = given_
    parts = 1 + cuts % 4
    whole = seconds // parts * parts  # make it divisible
    whole = np.maximum(whole, parts)
    seconds = whole
    fine_start = (start[:, None] + np.arange(parts) * (seconds // parts)[:, None]).reshape(-1)
    coarse = spread(start, seconds, value)
    fine = spread(fine_start, np.repeat(seconds // parts, parts), np.repeat(value / parts, parts))
    assert fine.first == coarse.first
    assert fine.total == pytest.approx(coarse.total, abs=1e-9)


def test_hourly_readings_are_split_into_equal_halves():
    """3 kWh from 01:00 to 02:00 are 1.5 kWh in each half hour."""
    grid = spread(np.array([3600]), np.array([3600]), np.array([3.0]))
    assert (grid.first, grid.total.tolist()) == (2, [1.5, 1.5])


@given(
    st.sampled_from(["Europe/London", "America/Los_Angeles", "Australia/Sydney", "Asia/Kolkata"]),
    st.sampled_from([900, 1800, 3600]),
    st.integers(0, 364),
)
def test_a_wall_clock_that_shows_both_hours_maps_one_to_one(zone, step, day):
    """Stamps a meter's local clock shows over any three days, the repeated hour shown twice, come
    back as the UTC times they were read at."""
    first = pd.Timestamp("2023-01-01", tz="UTC") + pd.Timedelta(days=day)
    true = pd.date_range(first, periods=3 * 86400 // step, freq=f"{step}s", unit="s")
    wall = true.tz_convert(zone).tz_localize(None).asi8
    utc, exists, _ = to_utc(np.asarray(wall), zone)
    assert exists.all()
    assert utc.tolist() == true.asi8.tolist()


@pytest.mark.parametrize(
    ("minutes", "second"),
    [
        ([0, 30, 0, 30], [0, 0, 1, 1]),  # as the clock showed them
        ([0, 0, 30, 30], [0, 1, 0, 1]),  # sorted by stamp
        ([0, 30, 30], [0, 0, 1]),  # 01:00 is missing the second time
        ([30, 0, 30], [0, 1, 1]),  # or the first
        ([0, 0, 30, 30, 0, 0, 30, 30], [0, 0, 0, 0, 1, 1, 1, 1]),  # every row twice
    ],
)
def test_which_time_of_the_repeated_hour_a_stamp_means(minutes, second):
    """Stamps that go back begin the other time; sorted by stamp, equal ones are the two in turn."""
    hour = pd.Timestamp("2024-10-27 01:00").value // 10**9
    utc, _, ambiguous = to_utc(hour + 60 * np.array(minutes), "Europe/London")
    assert ambiguous.all()
    first = pd.Timestamp("2024-10-27 00:00").value // 10**9
    true = [first + 60 * m + 3600 * s for m, s in zip(minutes, second, strict=True)]
    assert utc.tolist() == true
    day = np.array([-40, *minutes, 90, -40, *minutes, 90])  # the file joined with itself
    utc, _, _ = to_utc(hour + 60 * day, "Europe/London")
    assert utc[1:-1].tolist()[: len(true)] == true
    assert utc[1:-1].tolist()[-len(true) :] == true


def test_a_table_of_48_local_half_hours_on_both_clock_changes():
    """The spring hour does not exist; the autumn hour, given once, is the earlier of the two."""
    spring = pd.date_range("2024-03-31", periods=48, freq="30min", unit="s").asi8
    _, exists, _ = to_utc(np.asarray(spring), "Europe/London")
    assert np.flatnonzero(~exists).tolist() == [2, 3]
    autumn = pd.date_range("2024-10-27", periods=48, freq="30min", unit="s").asi8
    utc, exists, ambiguous = to_utc(np.asarray(autumn), "Europe/London")
    assert exists.all()
    assert np.flatnonzero(ambiguous).tolist() == [2, 3]
    assert np.unique(np.diff(utc), return_counts=True)[1].tolist() == [46, 1]  # one gap of 1.5 h


@given(
    st.integers(1, 600),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 0.9),
)
def test_gaps_are_filled_from_the_past_only(size, seed, share):
    """Changing anything after a gap changes no value filled in it, and no measured value moves."""
    rng = np.random.default_rng(seed)
    value, known = rng.random(size), rng.random(size) > share
    filled = fill_gaps(value, known)
    assert np.array_equal(filled[known], value[known])
    assert np.isfinite(filled).all()
    cut = int(rng.integers(0, size))
    other = value.copy()
    other[cut:] = rng.random(size - cut)
    after = known.copy()
    after[cut:] = rng.random(size - cut) > 0.5
    assert np.array_equal(fill_gaps(other, after)[:cut], filled[:cut])


def test_a_gap_takes_the_mean_of_the_same_half_hour_of_seven_days():
    """Eight days of the day's number; the gap on day 9 is (2 + ... + 8) / 7 = 5."""
    value = np.repeat(np.arange(1.0, 10.0), 48)
    known = np.ones(9 * 48, dtype=bool)
    known[8 * 48 + 5] = False
    assert fill_gaps(value, known)[8 * 48 + 5] == pytest.approx(5.0)
