import numpy as np
import pandas as pd
import pytest

from common.data.frame import COLUMNS, PRICES, Household, local_midnight, validate
from common.errors import InputError
from tests.support.frames import frame


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.drop(index=f.index[3]), r"row 3: gap before 2024-01-01T02:00:00"),
        (lambda f: f.iloc[[0, 1, 1, 2]], r"row 2: duplicate 2024-01-01T00:30:00"),
        (lambda f: f.iloc[[0, 2, 1]], r"row 1: gap"),
        (lambda f: f.iloc[[1, 0, 2]], r"row 1: out of order"),
        (lambda f: f.shift(freq="7min"), r"not on the half-hour grid"),
        (lambda f: f.tz_localize(None), r"UTC"),
        (lambda f: f.tz_convert("Europe/London"), r"UTC"),
        (lambda f: f.iloc[:0], r"no rows"),
        (lambda f: f.drop(columns="pv"), r"missing \['pv'\]"),
        (lambda f: f[list(reversed(COLUMNS))], r"order"),
        (lambda f: f.assign(extra=1.0), r"unknown \['extra'\]"),
        (lambda f: f.assign(misc="x"), r"misc holds no numbers"),
    ],
)
def test_a_frame_that_is_not_canonical_is_refused_by_name_and_row(spoil, message):
    """Each way a frame can be wrong raises InputError that names the household and the fault."""
    with pytest.raises(InputError, match=message) as caught:
        validate(spoil(frame()), "B07")
    assert "B07" in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1e6])
def test_impossible_energy_is_refused(value):
    """NaN, infinity, negative and a million kWh in one interval name row, column and value."""
    spoilt = frame()
    spoilt.iloc[5, COLUMNS.index("stove")] = value
    with pytest.raises(InputError, match=r"row 5 \(2024-01-01T02:30:00.*stove = "):
        validate(spoilt, "B07")


@pytest.mark.parametrize("column", PRICES)
@pytest.mark.parametrize("value", [-99.0, 0.0, 99.0])
def test_prices_have_either_sign(column, value):
    """Paid to consume, free, dear: all are prices, of import and of export."""
    prices = frame().assign(export_price=0.05)
    prices[column] = value
    home = Household("B07", prices, "UTC")
    assert home.frame[column].tolist() == [value] * 8


@pytest.mark.parametrize("column", PRICES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -100.1, 450.0])
def test_a_price_of_another_unit_is_refused(column, value):
    """Beyond 100 per kWh a price is one per MWh, or in cents; the row is named."""
    spoilt = frame().assign(export_price=0.05)
    spoilt.loc[spoilt.index[5], column] = value
    with pytest.raises(InputError, match=rf"B07: row 5 \(2024.*\): {column} = .*per MWh"):
        validate(spoilt, "B07")


def test_export_prices_are_optional():
    """Without the column there are none; it comes last and changes no other."""
    assert Household("B07", frame(), "UTC").export_price is None
    home = Household("B07", frame().assign(export_price=-0.01), "UTC")
    assert home.export_price.tolist() == [-0.01] * 8
    assert tuple(home.frame.columns) == (*COLUMNS, "export_price")


def test_an_hourly_source_is_known_only_when_its_hour_is_over():
    """Row 3 is the second half of 01:00-02:00: deciding for it, only rows 0 and 1 are known."""
    hourly = Household("B01", frame(), "UTC", resolution_minutes=60)
    assert [hourly.known(t) for t in range(7)] == [0, 0, 2, 2, 4, 4, 6]
    half_hourly = Household("B01", frame(), "UTC")
    assert [half_hourly.known(t) for t in range(7)] == list(range(7))


def test_known_follows_the_hours_of_the_source_not_of_utc():
    """In India the wall-clock hour begins at half past a UTC hour."""
    hourly = Household("B01", frame(), "Asia/Kolkata", resolution_minutes=60, phase_minutes=30)
    assert [hourly.known(t) for t in range(6)] == [0, 1, 1, 3, 3, 5]


def test_local_midnight_on_both_sides_of_a_clock_change():
    """London is at UTC in winter and an hour ahead in summer."""
    assert local_midnight("2024-03-31", "Europe/London") == pd.Timestamp("2024-03-31", tz="UTC")
    assert local_midnight("2024-04-01", "Europe/London") == pd.Timestamp(
        "2024-03-31 23:00", tz="UTC"
    )


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x" * 65])
def test_a_name_must_be_fit_for_a_file(name):
    """Household names become file names and database keys."""
    with pytest.raises(InputError, match="household name"):
        Household(name, frame(), "UTC")


@pytest.mark.parametrize("minutes", [15, 90, 1440])
def test_daily_readings_cannot_be_a_household(minutes):
    """A day's reading says nothing about half hours: coarser than an hour is refused."""
    with pytest.raises(InputError, match="readings every"):
        Household("B01", frame(), "UTC", resolution_minutes=minutes)
