"""Prices with the shape of a day-ahead market, and the tariffs made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from common.data.day_ahead import SPIKE, TARIFFS, day_ahead, tariff
from common.data.frame import local_midnight
from common.data.store import read_household
from common.data.synthetic import names
from simulations.commands.data import app

ZONE = "Europe/London"


def test_a_year_has_the_shape_it_says() -> None:
    """Of three years one hour of twenty lies below zero and one of 250 is a spike; evenings are
    dearest and noon cheapest; both half hours of an hour cost the same."""
    first = local_midnight("2024-01-01", ZONE)
    years = np.stack([day_ahead(ZONE, seed, first, 366 * 48) for seed in range(3)])
    assert (years < 0).mean() == pytest.approx(0.05, abs=0.01)
    assert (years == SPIKE).mean() == pytest.approx(0.004, abs=0.002)
    slots = pd.date_range(first, periods=366 * 48, freq="30min").tz_convert(ZONE).hour
    by_hour = [np.median(years[:, slots == hour]) for hour in range(24)]
    assert (np.argmax(by_hour), np.argmin(by_hour)) == (19, 13)
    assert np.array_equal(years[:, ::2], years[:, 1::2])


@given(st.integers(0, 999), st.integers(0, 300), st.integers(1, 500))
def test_windows_that_overlap_agree(seed: int, skip: int, rows: int) -> None:
    """What an interval costs does not depend on where the window begins, nor does a change of the
    clocks break it."""
    first = local_midnight("2024-03-29", ZONE)
    whole = day_ahead(ZONE, seed, first, 800)
    later = day_ahead(ZONE, seed, first + skip * pd.Timedelta("30min"), rows)
    assert np.array_equal(whole[skip : skip + rows], later)


def test_the_grid_pays_more_than_it_asks_only_at_noon_and_only_where_asked_to() -> None:
    """With every tariff; and import and export fall below zero together."""
    first = local_midnight("2024-06-01", ZONE)
    hour = pd.date_range(first, periods=60 * 48, freq="30min").tz_convert(ZONE).hour
    hour = np.asarray(hour, dtype=np.int64)
    market = day_ahead(ZONE, 1, first, len(hour))
    noon = (hour >= 11) & (hour < 14)
    for which in range(TARIFFS):
        asked, paid = tariff(market, hour, which)
        away = market > -0.3
        assert np.all((paid < asked)[away])
        asked, paid = tariff(market, hour, which, reversed_at_noon=True)
        assert np.array_equal(paid > asked, noon)


def test_generate_writes_them(tmp_path: Path) -> None:
    """`data generate --prices` gives every home one of the tariffs; load stays as it was; another
    word is one line."""
    words = ["generate", "--households", "6", "--days", "3"]
    for prices in ("bands", "day-ahead", "reversed"):
        out = ["--out", str(tmp_path / prices), "--prices", prices]
        done = CliRunner().invoke(app, [*words, *out])
        assert done.exit_code == 0, done.output
    homes = {
        prices: [read_household(tmp_path / prices / f"{name}.parquet").frame for name in names(6)]
        for prices in ("bands", "day-ahead", "reversed")
    }
    assert "export_price" not in homes["bands"][0]
    for plain, market in zip(homes["bands"], homes["day-ahead"], strict=True):
        other = [name for name in plain if name != "price"]
        pd.testing.assert_frame_equal(plain[other], market[other])
    assert len({tuple(home["price"]) for home in homes["day-ahead"]}) > 1
    assert all((home["export_price"] > home["price"]).any() for home in homes["reversed"])
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "x"), "--prices", "spot"])
    assert done.exit_code != 0
    assert "--prices 'spot': known: bands, day-ahead, reversed" in str(done.exception)
