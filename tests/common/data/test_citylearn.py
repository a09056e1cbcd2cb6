"""These tests need the package index once; the download stays in the cache of the test run."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from common.data import citylearn
from common.data.source import open_source
from common.errors import InputError
from tests.support.reference import reference


@pytest.fixture(scope="module")
def homes():
    try:
        citylearn.fetch()
    except citylearn.IndexUnreachableError as error:
        pytest.skip(str(error))


def window(start: str, households=10):
    return open_source(
        "citylearn",
        seed=0,
        households=households,
        start=date.fromisoformat(start),
        days=30,
        history_days=56,
    )


@pytest.mark.usefixtures("homes")
@pytest.mark.parametrize(
    ("start", "load", "pv"),
    [
        ("2016-10-01", 6298.28, 4509.69),
        ("2017-02-01", 7643.79, 3802.99),
        ("2017-05-01", 6373.51, 6803.32),
        ("2017-06-26", 10424.21, 7037.66),
    ],
)
def test_thirty_days_hold_the_energy_of_the_published_rows(start, load, pv):
    """Totals of B01-B10, summed independently over the wall-clock rows of the published set."""
    source = window(start)
    rows = [(h, h.row(source.start())) for h in map(source.load, source.names())]
    assert sum(h.consumption[r : r + 1440].sum() for h, r in rows) == pytest.approx(load, abs=0.01)
    total = sum(h.frame["pv"].to_numpy()[r : r + 1440].sum() for h, r in rows)
    assert total == pytest.approx(pv, abs=0.01)


@pytest.mark.usefixtures("homes")
def test_clock_changes_repeat_one_hour_and_drop_one():
    """The autumn hour is read twice and counted (load and PV, two half hours); the spring hour,
    which does not exist, is the only one never read: the year's energy differs by just these."""
    home = window("2016-10-01", 1).load("B01")
    local = home.frame.index.tz_convert(citylearn.TIMEZONE)
    assert home.filled_values == 4
    assert {str(t)[:13] for t in local[home.filled_rows]} == {"2016-11-06 01"}
    raw = pd.read_csv(citylearn.fetch() / "Building_1.csv")["Equipment Electric Power [kWh]"]
    hour = {
        "twice": pd.Timestamp("2016-11-06 01:00"),
        "never": pd.Timestamp("2017-03-12 02:00"),
    }
    row = {k: int((v - citylearn.FIRST) / pd.Timedelta(hours=1)) for k, v in hour.items()}
    expected = raw.sum() + raw[row["twice"]] - raw[row["never"]]
    assert home.consumption.sum() == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("homes")
def test_frames_equal_an_independent_copy_of_the_set():
    """Every wall-clock row of every home equals a copy of the set prepared by someone else."""
    folder = reference("citylearn2022_17")
    table = pd.read_parquet(folder / "load_pv.parquet").set_index("timestamp_local")
    context = pd.read_csv(folder / "context.csv", index_col=0, parse_dates=True)
    for name in citylearn.NAMES:
        home = citylearn.load(name)
        hours = home.frame.index.tz_convert(citylearn.TIMEZONE).tz_localize(None).floor("h")
        expected = table[table.house == name].loc[hours]
        assert np.abs(home.consumption - expected.load_kwh.to_numpy() / 2).max() < 5e-5
        assert np.abs(home.frame["pv"] - expected.pv_kwh.to_numpy() / 2).max() < 5e-5
        assert np.array_equal(home.frame["price"], context.loc[hours].price_usd_per_kwh)
        assert np.array_equal(home.frame["temperature"], context.loc[hours].temperature_c_TMY)


def test_an_unreachable_index_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    """The caller can tell this from other mistakes and fall back to synthetic homes."""
    monkeypatch.setenv("FEDWATT_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(citylearn.IndexUnreachableError) as caught:
        window("2016-10-01")
    assert "citylearn==2.0.0" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("homes")
def test_a_run_outside_the_data_and_too_many_homes_are_refused():
    """The line names the household and both spans, or both numbers."""
    with pytest.raises(InputError, match=r"B01 has readings from 2016-08-01 .* needs 2017-07-20"):
        window("2017-07-20").start()
    with pytest.raises(InputError, match="16 households asked for, citylearn has 15"):
        window("2016-10-01", 16)
