"""Every format: small files in its layout, written here, must import to the energy they hold."""

import json

import numpy as np
import pandas as pd
import pytest

from common.data.formats import FORMATS, table
from common.data.formats.mapped import Table
from common.data.frame import APPLIANCES
from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import household_files, read_household
from common.errors import InputError
from common.rng import generator
from tests.support.reference import reference
from tests.support.samples import DAYS, canonical_wide, half_hours, numbers


def lcl_original(folder):
    path = folder / "LCL.csv"
    lines = ["LCLid,stdorToU,DateTime,KWH/hh (per half hour) "]
    total = 0.0
    for home in ("MAC000002", "MAC000005"):
        for when, kwh in zip(half_hours(), numbers(DAYS * 48, home), strict=True):
            lines.append(f"{home},Std,{when:%Y-%m-%d %H:%M:%S}.0000000, {kwh:.3f} ")
            total += kwh
        lines.append(lines[-1])  # a repeated row, as at the edges of the published pieces
        lines.append(f"{home},Std,2024-07-02 12:37:27.0000000,Null")
    path.write_text("\n".join(lines) + "\n")
    return [path], Options(), {"load": total, "pv": 0.0}, "Europe/London"


def lcl_days(folder):
    path = folder / "block_0.csv"
    value = numbers(DAYS * 48).reshape(DAYS, 48)
    frame = pd.DataFrame(value, columns=[f"hh_{i}" for i in range(48)])
    frame.insert(0, "day", [f"2013-02-0{d + 1}" for d in range(DAYS)])
    frame.insert(0, "LCLid", "MAC000007")
    frame.to_csv(path, index=False)
    return [path], Options(), {"load": value.sum(), "pv": 0.0}, "Europe/London"


def ausgrid(folder):
    path = folder / "ausgrid.csv"
    ends = [f"{i // 2}:{30 * (i % 2):02d}" for i in range(1, 48)] + ["0:00"]
    lines = [
        "2012-2013 Solar home electricity data, a notice, with commas",
        "Customer,Generator Capacity,Postcode,Consumption Category,date,"
        + ",".join(ends)
        + ",Row Quality",
    ]
    total = {"load": 0.0, "pv": 0.0}
    for kind in ("GC", "CL", "GG"):
        for day in range(DAYS):
            value = numbers(48, f"{kind}{day}")
            total["pv" if kind == "GG" else "load"] += value.sum()
            cells = ",".join(f"{v:.3f}" for v in value)
            quality = "NA" if (kind, day) == ("GC", 1) else ""
            lines.append(f"12,3.78,2076,{kind},{day + 1}/07/2012,{cells},{quality}")
    path.write_text("\n".join(lines))
    return [path], Options(), total, "Australia/Sydney"


def citylearn(folder, new=False):
    path = folder / "set"
    path.mkdir()
    hours = DAYS * 24
    load, sun = numbers(hours, "load", 2.0), numbers(hours, "sun", 700.0)
    first = pd.Timestamp("2016-08-01")
    stamps = [first + pd.Timedelta(hours=h) for h in range(hours)]
    label = [s - pd.Timedelta(hours=1) for s in stamps]  # the set labels an hour by its end
    names = (
        ["month", "hour", "day_type", "non_shiftable_load", "solar_generation"]
        if new
        else [
            "Month",
            "Hour",
            "Day Type",
            "Equipment Electric Power [kWh]",
            "Solar Generation [W/kW]",
        ]
    )
    rows = [
        (s.month, s.hour + 1, s.day_of_week + 1, a, b)
        for s, a, b in zip(label, load, sun, strict=True)
    ]
    pd.DataFrame(rows, columns=names).to_csv(path / "Building_1.csv", index=False)
    price = "electricity_pricing" if new else "Electricity Pricing [$/kWh]"
    pd.DataFrame({price: np.full(hours, 0.21)}).to_csv(path / "pricing.csv", index=False)
    building = {
        "energy_simulation": "Building_1.csv",
        "pricing": "pricing.csv",
        "pv": {"attributes": {"nominal_power": 4.0}},
    }
    schema = {"seconds_per_time_step": 3600, "buildings": {"Building_1": building}}
    (path / "schema.json").write_text(json.dumps(schema))
    total = {"load": load.sum(), "pv": sun.sum() / 1000 * 4.0}
    return [path], Options(), total, "America/Los_Angeles"


def citylearn_new(folder):
    return citylearn(folder, new=True)


def dataport(folder):
    path = folder / "15minute_data_austin.csv"
    steps = half_hours(freq="15min")
    air, fridge, solar, other = (numbers(len(steps), tag) for tag in ("a", "f", "s", "o"))
    grid = air + fridge + other - solar
    lines = ["dataid,local_15min,air1,grid,refrigerator1,solar,car1"]
    lines += [
        f"661,{t:%Y-%m-%d %H:%M:%S}-05,{a},{g:.6f},{f},{s},"
        for t, a, g, f, s in zip(steps, air, grid, fridge, solar, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    total = {"load": (air + fridge + other).sum() / 4, "pv": solar.sum() / 4}
    return [path], Options(), {**total, "fridge": fridge.sum() / 4}, "America/Chicago"


def green_button(folder, prefixed=False):
    path = folder / "usage.xml"
    start = int(pd.Timestamp("2024-07-01", tz="UTC").timestamp())
    imported = np.random.default_rng(1).integers(0, 400, DAYS * 48)
    exported = np.random.default_rng(2).integers(0, 300, DAYS * 48)
    space = ' xmlns="http://naesb.org/espi"' if not prefixed else ""
    p = "espi:" if prefixed else ""

    def entry(href, related, payload):
        links = "".join(f'<link rel="related" href="{r}"/>' for r in related)
        return f'<entry><link rel="self" href="{href}"/>{links}<content>{payload}</content></entry>'

    def meter(key, flow, value, multiplier):
        kind = (
            f"<{p}ReadingType{space}><{p}flowDirection>{flow}</{p}flowDirection>"
            f"<{p}powerOfTenMultiplier>{multiplier}</{p}powerOfTenMultiplier>"
            f"<{p}uom>72</{p}uom></{p}ReadingType>"
        )
        readings = "".join(
            f"<{p}IntervalReading><{p}timePeriod><{p}duration>1800</{p}duration>"
            f"<{p}start>{start + 1800 * i}</{p}start></{p}timePeriod>"
            f"<{p}value>{v}</{p}value></{p}IntervalReading>"
            for i, v in enumerate(value)
        )
        block = f"<{p}IntervalBlock{space}>{readings}</{p}IntervalBlock>"
        return (
            entry(f"/Type/{key}", [], kind),
            entry(f"/Meter/{key}", [f"/Type/{key}", f"/Block/{key}"], f"<{p}MeterReading/>"),
            entry(f"/Block/{key}", [], block),
        )

    # Types first, blocks in the other order: only the links tell which is which.
    one, two = meter(1, 1, imported, 0), meter(2, 19, exported, 1)
    body = "".join((one[0], two[0], two[1], two[2], one[1], one[2]))
    path.write_text(
        '<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" '
        f'xmlns:espi="http://naesb.org/espi">{body}</feed>'
    )
    total = {"load": imported.sum() / 1e3, "pv": exported.sum() / 1e2}
    return [path], Options(), total, "UTC"


def green_button_prefixed(folder):
    return green_button(folder, prefixed=True)


def ha_energy(folder):
    path = folder / "energy.csv"
    steps = half_hours(freq="60min")
    taken, given, sun = (numbers(len(steps), t, 2.0) for t in ("t", "g", "s"))
    given = np.minimum(given, sun)
    rows = [
        ("entity_id", "type", "unit", *(f"{t:%Y-%m-%dT%H:%M:%S}.000Z" for t in steps)),
        ("sensor.in", "grid_consumption", "kWh", *taken),
        ("sensor.out", "grid_return", "Wh", *(given * 1000)),
        ("sensor.pv", "solar_production", "kWh", *sun),
        ("sensor.cost", "grid_consumption_cost", "EUR", *taken),
    ]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return [path], Options(), {"load": (taken + sun - given).sum(), "pv": sun.sum()}, "UTC"


def ha_history(folder):
    path = folder / "history.csv"
    steps = np.cumsum(np.random.default_rng(0).integers(60, 900, 500))
    meter = np.round(1200 + np.cumsum(numbers(500, "m", 0.1)), 3)
    first = pd.Timestamp("2024-07-01", tz="UTC")
    lines = ["entity_id,state,last_changed"] + [
        f"sensor.meter,{m},{(first + pd.Timedelta(seconds=int(s))).isoformat()}"
        for s, m in zip(steps, meter, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return [path], Options(timezone="Europe/Berlin"), {"edges": meter[-1] - meter[0]}, None


def uci(folder):
    path = folder / "power.txt"
    minutes = half_hours(freq="1min", days=2)
    power = numbers(len(minutes), "p", 3.0)
    kitchen = np.round(power * 1000 / 60 * 0.2, 3)
    head = (
        "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
        "Sub_metering_1;Sub_metering_2;Sub_metering_3"
    )
    lines = [head] + [
        f"{t.day}/{t.month}/{t.year};{t:%H:%M:%S};{p:.3f};0.1;240.1;4.0;{k:.3f};0.000;0.000"
        for t, p, k in zip(minutes, power, kitchen, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    total = {"load": power.sum() / 60, "pv": 0.0, "stove": kitchen.sum() / 1000}
    return [path], Options(), total, "Europe/Paris"


def refit(folder):
    path = folder / "CLEAN_House3.csv"
    rng = np.random.default_rng(0)
    time = 1381323977 + np.cumsum(rng.integers(5, 10, 20000))
    watt = rng.integers(100, 900, 20000)
    appliance = watt // 3
    lines = ["Time,Unix,Aggregate,Appliance1,Appliance2,Issues"] + [
        f"x,{t},{w},{a},0,0" for t, w, a in zip(time, watt, appliance, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    held = np.diff(time) / 3.6e6
    return (
        [path],
        Options(roles={"Appliance1": "fridge"}),
        {"edges": (watt[:-1] * held).sum()},
        "Europe/London",
    )


def ukdale(folder):
    path = folder / "house_1"
    path.mkdir()
    (path / "labels.dat").write_text("1 aggregate\n2 laptop\n3 solar_thermal_pump\n")
    rng = np.random.default_rng(0)
    time = 1381323600 + 6 * np.arange(40000)
    watt = rng.integers(100, 900, 40000)
    for channel, value in ((1, watt), (2, watt // 4), (3, watt // 9)):
        rows = (f"{t} {w}" for t, w in zip(time, value, strict=True))
        (path / f"channel_{channel}.dat").write_text("\n".join(rows) + "\n")
    return [path], Options(), {"edges": watt[:-1].sum() * 6 / 3.6e6}, "Europe/London"


def canonical_long(folder):
    path = folder / "table.csv"
    rows = []
    for home in ("A", "B"):
        value = numbers(DAYS * 48, home)
        rows += [
            f"{home},{t.isoformat()}Z,{v},{v / 2},0.25"
            for t, v in zip(half_hours(), value, strict=True)
        ]
    path.write_text("household,timestamp,consumption,pv,price\n" + "\n".join(rows) + "\n")
    total = sum(numbers(DAYS * 48, home).sum() for home in ("A", "B"))
    return [path], Options(), {"load": total, "pv": total / 2}, "UTC"


def canonical_single(folder):
    path = folder / "home.csv"
    frame = pd.DataFrame({a: numbers(DAYS * 24, a) for a in APPLIANCES})
    frame.insert(0, "timestamp", half_hours(freq="60min").strftime("%Y-%m-%d %H:%M"))
    frame.to_csv(path, index=False)
    total = frame.iloc[:, 1:].to_numpy().sum()
    return [path], Options(timezone="Asia/Kolkata"), {"load": total, "pv": 0.0}, "Asia/Kolkata"


SAMPLES = {
    "lcl": (lcl_original, lcl_days),
    "ausgrid": (ausgrid,),
    "citylearn": (citylearn, citylearn_new),
    "dataport": (dataport,),
    "greenbutton": (green_button, green_button_prefixed),
    "ha-energy": (ha_energy,),
    "ha-history": (ha_history,),
    "uci": (uci,),
    "refit": (refit,),
    "ukdale": (ukdale,),
    "canonical": (canonical_long, canonical_wide, canonical_single),
}


def test_every_format_has_a_sample():
    """A new format cannot be added without a round trip."""
    own = {fmt.name for fmt in FORMATS if not isinstance(fmt, Table)}
    assert set(SAMPLES) == own - {"ha-recorder", "nem12"}  # their samples: test_meter_files.py


@pytest.mark.parametrize(
    ("name", "sample"),
    [(name, sample) for name, samples in SAMPLES.items() for sample in samples],
)
def test_a_file_imports_to_the_energy_it_holds(name, sample, tmp_path):
    """The format is recognised by its content, and load and PV equal the file's own totals.

    Irregular samples begin and end within a half hour: there the measured energy that was kept is
    compared, and it is all but what lies in half hours covered by less than half.
    """
    paths, options, expected, zone = sample(tmp_path)
    report = import_files(paths, tmp_path / "out", options=options)
    assert report.format == name
    homes = [read_household(path) for path in household_files(tmp_path / "out")]
    assert set(report.accounts) == {home.name for home in homes}
    if zone is not None:
        assert {home.timezone for home in homes} == {zone}
    assert all(home.real for home in homes)
    load = sum(home.consumption.sum() for home in homes)
    if "edges" in expected:
        account = next(iter(report.accounts.values()))
        main = "consumption" if "consumption" in account.file_kwh else "import"
        assert account.file_kwh[main] == pytest.approx(expected["edges"], rel=1e-9)
        inner = homes[0].consumption[1:-1].sum()
        assert inner <= load <= expected["edges"] + 1e-9
        assert load == pytest.approx(account.kept_kwh[main], abs=1e-9)
        assert load == pytest.approx(expected["edges"], abs=2 * homes[0].consumption.max())
        return
    assert load == pytest.approx(expected["load"], abs=1e-6)
    assert sum(home.frame["pv"].sum() for home in homes) == pytest.approx(expected["pv"], abs=1e-6)
    for appliance in set(expected) & set(APPLIANCES):
        total = sum(home.frame[appliance].sum() for home in homes)
        assert total == pytest.approx(expected[appliance], abs=1e-6)


def test_interval_ends_and_estimates_of_ausgrid(tmp_path):
    """The value labelled 0:30 is the first of the local day, and estimated rows are marked."""
    paths, options, _, _ = ausgrid(tmp_path)
    import_files(paths, tmp_path / "out", options=options)
    home = read_household(tmp_path / "out" / "C012.parquet")
    assert home.frame.index[0] == pd.Timestamp("2012-06-30 14:00", tz="UTC")  # midnight, Sydney
    assert home.frame["misc"].iloc[0] == numbers(48, "GC0")[0]
    assert home.frame["water_heater"].iloc[47] == numbers(48, "CL0")[47]
    assert np.flatnonzero(home.filled_rows).tolist() == list(range(48, 96))


def test_hourly_and_wall_clock_sources_say_so(tmp_path):
    """Resolution and phase come from the file: hours of Kolkata begin at half past in UTC."""
    paths, options, _, _ = canonical_single(tmp_path)
    import_files(paths, tmp_path / "out", options=options)
    home = read_household(tmp_path / "out" / "home.parquet")
    assert (home.resolution_minutes, home.phase_minutes) == (60, 30)
    assert [home.known(t) for t in range(5)] == [0, 0, 2, 2, 4]


def test_the_spring_hour_is_the_only_energy_left_out(tmp_path):
    """A wall clock with a change: 48 rows for a day of 46 half hours, two of which never were."""
    path = tmp_path / "clock.csv"
    stamps = half_hours("2024-03-30", 4)
    value = numbers(len(stamps))
    pd.DataFrame({"timestamp": stamps, "consumption": value}).to_csv(path, index=False)
    report = import_files([path], tmp_path / "out", options=Options(timezone="Europe/London"))
    home = read_household(tmp_path / "out" / "clock.parquet")
    skipped = value[48 + 2] + value[48 + 3]
    assert report.accounts["clock"].missing_hour_kwh == pytest.approx(skipped)
    assert home.consumption.sum() == pytest.approx(value.sum() - skipped)
    assert len(home.frame) == len(stamps) - 2


def test_memory_does_not_grow_with_the_number_of_households(tmp_path, monkeypatch):
    """With a buffer of a few kilobytes every household goes through the disk, with one result."""
    paths, options, _, _ = canonical_wide(tmp_path)
    import_files(paths, tmp_path / "a", options=options)
    monkeypatch.setattr("common.data.spool._BUFFER_BYTES", 1000)
    import_files(paths, tmp_path / "b", options=options)
    for one, two in zip(
        household_files(tmp_path / "a"), household_files(tmp_path / "b"), strict=True
    ):
        assert one.read_bytes() == two.read_bytes()
    assert {p.suffix for p in (tmp_path / "b").iterdir()} == {".parquet"}


def test_meter_disagreement_goes_to_the_main_meter(tmp_path):
    """Where sub-meters add up to more than the home, they are scaled: the total stays."""
    path = tmp_path / "home.csv"
    stamps = half_hours(days=1)
    frame = pd.DataFrame({"timestamp_utc": stamps, "consumption": 0.4, "stove": 0.3, "ac": 0.5})
    frame.to_csv(path, index=False)
    import_files([path], tmp_path / "out")
    home = read_household(tmp_path / "out" / "home.parquet")
    assert home.consumption == pytest.approx(np.full(48, 0.4))
    assert home.frame["ac"].iloc[0] == pytest.approx(0.25)


def test_weather_and_prices_come_from_a_context_table(tmp_path):
    """Hourly context holds for both half hours; what it lacks is named as absent."""
    paths, options, _, _ = canonical_wide(tmp_path)
    context = tmp_path / "context.csv"
    hours = half_hours(freq="60min")
    temperature = numbers(len(hours), "t", 30.0)
    pd.DataFrame({"timestamp_utc": hours, "temperature": temperature, "price": 0.21}).to_csv(
        context, index=False
    )
    report = import_files(paths, tmp_path / "out", options=options, context=context)
    home = read_household(tmp_path / "out" / "MAC0.parquet")
    assert home.frame["temperature"].to_numpy() == pytest.approx(np.repeat(temperature, 2))
    assert set(home.frame["price"]) == {0.21}
    assert report.accounts["MAC0"].absent == ["solar_irradiance"]


def test_export_prices_come_from_a_table_or_its_context(tmp_path):
    """A column export_price is read by name, of either sign; without one the home has none."""
    stamps = half_hours().strftime("%Y-%m-%dT%H:%MZ")
    sold = np.round(numbers(len(stamps), "sold") - 0.2, 3)
    path, context = tmp_path / "home.csv", tmp_path / "context.csv"
    table = pd.DataFrame({"timestamp": stamps, "consumption": 0.3})
    table.to_csv(path, index=False)
    import_files([path], tmp_path / "none")
    assert read_household(tmp_path / "none" / "home.parquet").export_price is None
    table.assign(export_price=sold).drop(columns="consumption").to_csv(context, index=False)
    import_files([path], tmp_path / "context", context=context)
    table.assign(export_price=sold).to_csv(path, index=False)
    import_files([path], tmp_path / "own")
    for folder in ("context", "own"):
        home = read_household(tmp_path / folder / "home.parquet")
        assert home.export_price == pytest.approx(sold)


@pytest.mark.parametrize(
    ("file", "load", "pv"),
    [
        # Totals summed over the files by hand (awk), apart from this code.
        ("sample_lcl_original.csv", 179.424, 0.0),
        ("sample_lcl_kaggle.csv", 179.424, 0.0),
        ("sample_ausgrid.csv", 38.511, 57.395),
        ("sample_citylearn", 969.478, 585.807),
        ("sample_greenbutton.xml", 22.317, 41.205),
        ("sample_dataport.csv", 202.107, 0.0),
    ],
)
def test_published_samples(file, load, pv, tmp_path):
    """Samples prepared by someone else import to their own totals."""
    import_files([reference("formats", file)], tmp_path / "out")
    homes = [read_household(path) for path in household_files(tmp_path / "out")]
    assert sum(h.consumption.sum() for h in homes) == pytest.approx(load, abs=2e-3)
    assert sum(h.frame["pv"].sum() for h in homes) == pytest.approx(pv, abs=2e-3)


@pytest.mark.parametrize("joined_bytes", [0, 1 << 26])
def test_homes_that_take_turns_are_those_that_follow_each_other(
    joined_bytes, tmp_path, monkeypatch
):
    """Whatever the blocks, sorting rows by time changes no reading, and a message names its row."""
    monkeypatch.setattr(table, "_BLOCK_BYTES", 4000)
    monkeypatch.setattr(table, "_JOINED_BYTES", joined_bytes)
    rng = generator(0, "", 0, "turns")
    index = pd.date_range("2025-06-01", periods=96, freq="30min").strftime("%Y-%m-%dT%H:%MZ")
    rows = [(f"H{h:02d}", t, f"{rng.random():.3f}") for h in range(30) for t in index]
    frames = []
    for name, order in (("homes", rows), ("times", sorted(rows, key=lambda row: row[1]))):
        path = tmp_path / f"{name}.csv"
        lines = ["household,timestamp,consumption", *(",".join(row) for row in order)]
        path.write_text("\n".join(lines) + "\n")
        import_files([path], tmp_path / name)
        frames.append([read_household(p).frame for p in sorted((tmp_path / name).iterdir())])
    assert len(frames[0]) == len(frames[1]) == 30
    for one, other in zip(*frames, strict=True):
        pd.testing.assert_frame_equal(one, other)
    lines[2000] = lines[2000].rpartition(",")[0] + ",-1"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"times\.csv: row 2001: .*negative"):
        import_files([path], tmp_path / "wrong")
