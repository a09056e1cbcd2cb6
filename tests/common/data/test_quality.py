import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.frame import Household
from common.data.quality import correlation, difficulty, measure
from tests.support.frames import frame


def home(load, pv=None, filled=None, **kwargs):
    readings = frame(rows=len(load))
    for column in readings.columns[:10]:
        readings[column] = 0.0
    readings["misc"] = load
    if pv is not None:
        readings["pv"] = pv
    filled = np.zeros(len(load), dtype=bool) if filled is None else filled
    return Household("B01", readings, "UTC", filled_rows=filled, **kwargs)


@given(st.integers(0, 2**32 - 1), st.integers(9, 30))
def test_difficulty_is_the_error_of_the_seven_day_mean(seed, days):
    """Against a plain loop over days."""
    load = np.random.default_rng(seed).random(days * 48)
    table = load.reshape(days, 48)
    errors = [table[d] - table[d - 7 : d].mean(axis=0) for d in range(7, days)]
    expected = np.sqrt(np.mean(np.square(errors))) / table[7:].mean()
    assert difficulty(load) == pytest.approx(expected)


def test_a_perfectly_regular_home_is_suspicious():
    """The same day over and over: correlation 1, difficulty 0, and it is said."""
    load = np.tile(np.linspace(0.1, 1.0, 48), 40)
    figures = measure(home(load))
    assert figures.day_correlation == pytest.approx(1.0)
    assert figures.difficulty == pytest.approx(0.0, abs=1e-12)
    assert any("nearly the day before" in doubt for doubt in figures.suspicious)


def test_filled_half_hours_are_left_out():
    """A filled value of 9 kWh changes no figure but the share of filled rows."""
    load = np.random.default_rng(0).random(40 * 48)
    clean = measure(home(load))
    dirty = load.copy()
    dirty[100] = 9.0
    filled = np.arange(len(load)) == 100
    figures = measure(home(dirty, filled=filled))
    assert figures.peak_kwh == clean.peak_kwh
    assert figures.missing == pytest.approx(1 / len(load))
    assert figures.kwh_per_day == pytest.approx(clean.kwh_per_day, rel=1e-3)
    assert figures.day_correlation == pytest.approx(clean.day_correlation, abs=5e-3)


@pytest.mark.parametrize(
    ("load", "pv", "doubt"),
    [
        (np.random.default_rng(0).random(40 * 48) * 20, None, "another unit"),
        (np.random.default_rng(0).random(5 * 48), None, "only 5 days"),
        (np.where(np.arange(40 * 48) < 900, 0.0, 0.4), None, "read 0"),
        (np.repeat(np.random.default_rng(0).random(480), 4), None, "repeat the one before"),
        (
            np.concatenate([np.random.default_rng(0).random(1500), np.full(420, 0.2)]),
            None,
            "same value for 9 days",
        ),
        (
            np.random.default_rng(0).random(40 * 48),
            np.tile(np.eye(48)[2], 40),
            "PV falls at night",
        ),
    ],
)
def test_what_is_suspicious_is_said(load, pv, doubt):
    """One spoilt series each, and the words a person would use."""
    assert any(doubt in said for said in measure(home(load, pv)).suspicious)


def test_too_short_a_span_has_no_correlation():
    """Two days say nothing about a week: not a number rather than a guess."""
    assert np.isnan(correlation(np.arange(96.0), 336))
    assert np.isnan(difficulty(np.arange(96.0)))
