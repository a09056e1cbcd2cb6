"""Weather and prices beside the meter files: fedwatt's own table, publishers' tables, any table."""

import gzip

import numpy as np
import pandas as pd
import pytest

from common.data.formats.mapping import shipped
from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import household_files, read_household
from common.errors import InputError

STAMPS = pd.date_range("2025-03-29", periods=3 * 48, freq="30min", tz="UTC")
PRICE = np.round(np.random.default_rng(8).uniform(-5.0, 40.0, len(STAMPS)), 4)  # ct/kWh
KWH = np.round(np.random.default_rng(5).uniform(0.1, 0.7, len(STAMPS)), 3)


@pytest.fixture
def meter(tmp_path):
    path = tmp_path / "home.csv"
    stamps = STAMPS.strftime("%Y-%m-%dT%H:%M:%SZ")
    pd.DataFrame({"timestamp": stamps, "consumption": KWH}).to_csv(path, index=False)
    return path


def price_of(meter, context, **given):
    """The price the home gets from a context, and what the import says."""
    out = meter.parent / f"out{len(list(meter.parent.iterdir()))}"
    options = Options(timezone="Europe/London", clock=given.pop("clock", None))
    report = import_files([meter], out, options=options, context=context, **given)
    (home,) = [read_household(p) for p in household_files(out)]
    return home.frame["price"].to_numpy(), "\n".join(report.notes)


def octopus(stamps=STAMPS, price=PRICE, minutes=30):
    ends = stamps + pd.to_timedelta(np.broadcast_to(minutes, len(stamps)), unit="min")
    rows = [
        f"{p},{p * 1.05:.5f},{t:%Y-%m-%dT%H:%M:%SZ},{end:%Y-%m-%dT%H:%M:%SZ}"
        for t, end, p in zip(stamps, ends, price, strict=True)
    ]
    return ["value_exc_vat,value_inc_vat,valid_from,valid_to", *rows[::-1]]


def ember(price, country="France"):
    hours = STAMPS[::2]
    local = hours.tz_convert("Europe/Paris")
    return [
        f"{country},FRA,{t:%Y-%m-%d %H:%M:%S},{at:%Y-%m-%d %H:%M:%S},{p}"
        for t, at, p in zip(hours, local, price, strict=True)
    ]


EMBER = "Country,ISO3 Code,Datetime (UTC),Datetime (Local),Price (EUR/MWhe)"


def test_octopus_rates_are_pence_with_vat_newest_first(meter, tmp_path):
    """As its API writes them; the import says which of the two columns, and which unit."""
    context = tmp_path / "rates.csv"
    context.write_text("\n".join(octopus()))
    price, said = price_of(meter, context)
    assert price == pytest.approx(PRICE * 1.05 / 100, abs=1e-7)
    assert "value_inc_vat, p/kWh, with VAT" in said
    assert "columns not read: 'value_exc_vat'" in said


def test_rates_of_a_day_and_a_night_hold_until_their_own_ends(meter, tmp_path):
    """A tariff of 19.5 and 4.5 hours: each rate for its own time, whatever the lengths; the last,
    still open, has no end."""
    days = pd.date_range("2025-03-28 05:00", periods=5, tz="UTC")
    begin = pd.DatetimeIndex([t + pd.Timedelta(hours=h) for t in days for h in (0, 19.5)])
    rates = octopus(begin, [30.0, 8.0] * 5, [1170, 270] * 5)
    rates[1] = ",".join([*rates[1].split(",")[:3], ""])
    context = tmp_path / "go.csv"
    context.write_text("\n".join(rates))
    price, _ = price_of(meter, context)
    hour = np.asarray(STAMPS.hour + STAMPS.minute / 60)
    night = (hour >= 0.5) & (hour < 5)
    assert price == pytest.approx(np.where(night, 8.0, 30.0) * 1.05 / 100)
    odd = octopus()
    odd[3] = odd[3].replace(odd[3].split(",")[3], "2025-01-01T00:00:00Z")
    context.write_text("\n".join(odd))
    with pytest.raises(InputError, match=r"go\.csv: row 4: valid_to = .*ends before it begins"):
        price_of(meter, context)
    both = [*octopus(), *octopus(price=PRICE + 1)[1:]]  # of another way of payment
    context.write_text("\n".join(both))
    with pytest.raises(InputError, match=r"go\.csv: row .*duplicate reading .* delete the wrong"):
        price_of(meter, context)


def test_ember_prices_are_per_megawatt_hour_and_of_one_country(meter, tmp_path):
    """Wholesale prices in UTC, as downloaded or gzipped; the table of all countries is refused."""
    hourly = np.round(PRICE[::2] * 10, 2)
    context = tmp_path / "France.csv"
    context.write_text("\n".join([EMBER, *ember(hourly)]))
    packed = tmp_path / "France.csv.gz"
    packed.write_bytes(gzip.compress(context.read_bytes()))
    for path in (context, packed):
        price, said = price_of(meter, path)
        assert price == pytest.approx(np.repeat(hourly, 2) / 1000, abs=1e-9)
        assert "EUR/MWh, without taxes and network charges" in said
    context.write_text("\n".join([EMBER, *ember(hourly), *ember(hourly + 1, "Spain")]))
    with pytest.raises(InputError, match=r"of 2 areas \(France, Spain\): keep the rows of one"):
        price_of(meter, context)


def test_a_context_of_any_dialect_or_by_a_mapping(meter, tmp_path):
    """Semicolons and decimal commas under the known names; any other names by a mapping; what has
    neither is refused with the columns it has and both ways out."""
    stamps = STAMPS.strftime("%Y-%m-%dT%H:%M:%SZ")
    per_kwh = [f"{p / 100:.6f}".replace(".", ",") for p in PRICE]
    context = tmp_path / "c.csv"
    rows = [f"{t};{p}" for t, p in zip(stamps, per_kwh, strict=True)]
    context.write_text("\n".join(["timestamp;price", *rows]))
    price, _ = price_of(meter, context)
    assert price == pytest.approx(PRICE / 100, abs=1e-6)
    local = STAMPS.tz_convert("Europe/Berlin").strftime("%d.%m.%Y %H:%M")
    rows = [f"{t};{p * 10:.3f}".replace(".", ",", 0) for t, p in zip(local, PRICE, strict=True)]
    context.write_text("\n".join(["Datum;EUR je MWh", *rows]))
    with pytest.raises(InputError, match=r"'timestamp'.*'Datum', 'EUR je MWh'.*--context-mapping"):
        price_of(meter, context)
    mapping = tmp_path / "market.yaml"
    layout = (
        "time: {columns: [Datum], format: '%d.%m.%Y %H:%M', clock: Europe/Berlin}\n"
        "columns: {EUR je MWh: {role: price, unit: /MWh}}\n"
    )
    mapping.write_text(layout)
    with pytest.raises(InputError, match=r"97\.138.*'decimal' of a mapping"):
        price_of(meter, context, context_mapping=str(mapping))
    mapping.write_text(f"decimal: '.'\n{layout}")
    price, _ = price_of(meter, context, context_mapping=str(mapping))
    assert price == pytest.approx(PRICE / 100, abs=1e-6)
    with pytest.raises(InputError, match="--context-mapping nowhere: cannot be read"):
        price_of(meter, context, context_mapping="nowhere")
    with pytest.raises(InputError, match="there is none"):
        price_of(meter, None, context_mapping=str(mapping))


def test_every_price_mapping_that_ships_names_its_page():
    """Where its layout was read, when, and what is odd about it."""
    assert set(shipped("prices")) == {"ember", "octopus-rates"}
    for name, mapping in shipped("prices").items():
        assert mapping.page.startswith("https://"), name
        assert mapping.read_on is not None, name
        assert mapping.quirks, name
        assert mapping.title, name
