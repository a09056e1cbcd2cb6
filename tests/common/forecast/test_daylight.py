"""Light and clock: known from the calendar, right on known days."""

import numpy as np
import pandas as pd
import pytest

from common.data.frame import COLUMNS
from common.forecast.daylight import daylight
from common.forecast.forecaster import Forecaster, weights_of
from common.forecast.inputs import ahead_block, wall_clock_rows
from common.forecast.scalers import fit_scaler
from common.forecast.transformer import build_model
from tests.support.homes import home


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        # Almanac lengths of day: sunrise to sunset, which counts refraction and the sun's radius
        # (10 to 20 minutes more than the geometric length).
        ("Europe/London", "2013-06-21", 16.63),
        ("Europe/London", "2013-12-21", 7.83),
        ("America/Los_Angeles", "2016-08-01", 13.75),
        ("Australia/Sydney", "2012-12-21", 14.4),
    ],
)
def test_day_length_agrees_with_the_almanac(zone: str, day: str, hours: float) -> None:
    """Within 20 minutes of the published length of day in the zone's principal city."""
    times = pd.date_range(day, periods=48, freq="30min", tz=zone).tz_convert("UTC")
    assert daylight(times, zone)[:, 1].mean() == pytest.approx(hours, abs=1 / 3)


def test_brightness_is_between_dark_and_light_and_peaks_at_noon() -> None:
    """London in March: dark at midnight, fully light at noon."""
    times = pd.date_range("2013-03-20", periods=48, freq="30min", tz="UTC")
    light = daylight(times, "Europe/London")
    assert light[0, 0] == 0.0
    assert light[24, 0] == 1.0
    assert ((light[:, 0] >= 0) & (light[:, 0] <= 1)).all()


def test_a_zone_without_a_place_has_no_light() -> None:
    """UTC is nowhere: the feature is silent instead of wrong."""
    times = pd.date_range("2013-03-20", periods=48, freq="30min", tz="UTC")
    assert not daylight(times, "UTC").any()


def test_rows_keep_to_the_wall_clock() -> None:
    """London 2021-03-28 01:00 UTC: before it, local 08:00 was row 08:00 UTC; after it 07:00 UTC.

    An origin after the change reads older rows where the clock showed the same hour, and never
    at or past the origin.
    """
    history = home(40)
    local = history.index.tz_convert("Europe/London")
    change = int(np.flatnonzero(history.index == "2021-03-28 01:00:00+00:00")[0])
    for origin in (change, change + 1, change + 30, change + 48 * 3 + 5):
        rows = wall_clock_rows(history.clock_shift, np.array([origin]), 7 * 48)[0]
        assert (rows < origin).all()
        hour = (local.hour + local.minute / 60).to_numpy()
        wanted = (hour[origin] + np.arange(-7 * 48, 0) / 2) % 24
        # The hour that the clock skipped was on no clock: 01:00 to 02:00.
        there = (wanted < 1) | (wanted >= 2)
        np.testing.assert_array_equal(hour[rows][there], wanted[there])
    before = wall_clock_rows(history.clock_shift, np.array([change - 1]), 48)[0]
    np.testing.assert_array_equal(before, np.arange(change - 49, change - 1))


def test_a_habit_by_the_clock_is_forecast_across_the_change() -> None:
    """A kettle at 07:00 local every day is forecast at 07:00 local the day after the change."""
    history = home(40)
    local = history.index.tz_convert("Europe/London")
    history.values[:, COLUMNS.index("misc")] = np.where(
        (local.hour == 7) & (local.minute == 0), 2.0, 0.1
    )
    origin = int(np.flatnonzero(history.index == "2021-03-28 23:00:00+00:00")[0])
    scaler = fit_scaler(history, 0, origin)
    forecaster = Forecaster("slot", weights_of(build_model("slot")), [scaler])
    forecast = forecaster.forecast([history], origin, ("day",)).streams["consumption_day"][0]
    # The home's clock shows 00:00 at the origin, so 07:00 is step 14.
    assert int(np.argmax(forecast)) == 14
    assert forecast[14] > 1.9


def test_the_light_ahead_is_a_change_against_two_weeks_before() -> None:
    """In autumn days grow shorter: the change of day length is negative, in spring positive."""
    steps = np.arange(48)
    for month, sign in (("2021-10-20", -1), ("2021-04-20", 1)):
        history = home(60)
        history.index = pd.date_range(month, periods=len(history), freq="30min", tz="UTC")
        ahead = ahead_block(
            history.calendar.T, history.daylight.T, history.clock_shift, np.array([1000]), steps
        )
        assert (np.sign(ahead[5]) == sign).all()
