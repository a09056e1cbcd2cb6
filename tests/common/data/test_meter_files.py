"""Files as utilities, inverters and Home Assistant give them: small ones in each layout, written
here, import to the energy they hold, at the times they name."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from common.data.formats.mapping import shipped
from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import household_files, read_household
from common.errors import InputError
from tests.support.meter_files import SAMPLES, enedis, esb_kwh, stamps, values

OTHERS = {"shelly-em", "sma"}  # several files, and panels alone: below
# Whose layout says what is meant on days when the clock moves: an offset, both hours, 46 values.
CLOCKS = (
    "octopus",
    "enedis",
    "enedis-2025",
    "datadis",
    "dsmr-reader",
    "uk-half-hourly",
    "esb",
    "pge",
)


def check(name, sample, options, first, tmp_path):
    path = tmp_path / f"file{'.db' if name == 'ha-recorder' else '.csv'}"
    utc, expected = sample(path, first)
    report = import_files([path], tmp_path / "out", options=Options(**options))
    assert report.format == name
    (home,) = [read_household(p) for p in household_files(tmp_path / "out")]
    assert home.frame.index[0] == utc[0]
    step = int((utc[1] - utc[0]).total_seconds())
    for column, kwh in expected.items():
        got = home.consumption if column == "load" else home.frame[column].to_numpy()
        grid = kwh.reshape(-1, 2).sum(axis=1) if step == 900 else np.repeat(kwh / 2, 2)
        wanted = kwh if step == 1800 else grid
        assert got == pytest.approx(wanted, abs=2e-4), column
    return home, report.accounts[home.name]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_recognised_and_read_half_hour_by_half_hour(name, tmp_path):
    """Without an option but the zone where the file does not say it, every half hour is right."""
    home, account = check(name, *SAMPLES[name], "2025-06-02", tmp_path)
    assert not any("does not exist" in d for d in account.doubts)
    if name == "nem12":
        assert np.flatnonzero(home.filled_rows).tolist() == list(range(48 + 40, 96))


@pytest.mark.parametrize("first", ["2025-03-29", "2025-10-25", "2025-03-08", "2025-11-01"])
@pytest.mark.parametrize("name", CLOCKS)
def test_nothing_is_lost_or_moved_when_the_clock_is_set(name, first, tmp_path):
    """Three days around each change, of Europe and of the United States."""
    home, _ = check(name, *SAMPLES[name], first, tmp_path)
    assert not home.filled_rows.any()


def test_both_units_of_esb_are_read(tmp_path):
    """The read type says kW or kWh; the half hours are the same."""
    home, _ = check("esb", esb_kwh, {}, "2025-06-02", tmp_path)
    assert not home.filled_rows.any()


def test_three_phases_are_one_home(tmp_path):
    """Files of the phases of a Shelly 3EM add up, whatever their order."""
    utc = stamps("UTC", "10min", "2025-06-02")
    total = np.zeros(len(utc))
    files = []
    for number, phase in enumerate("CAB"):
        wh = values(len(utc), number, 200.0)
        total += wh
        rows = [f"Date/time UTC,Active energy Wh ({phase}),Returned energy Wh ({phase})"]
        rows += [f"{t:%Y-%m-%d %H:%M},{v},0.00" for t, v in zip(utc, wh, strict=True)]
        files.append(tmp_path / f"em_data_phase{phase}.csv")
        files[-1].write_text("\n".join(rows))
    import_files(files, tmp_path / "out", options=Options(name="ours"))
    home = read_household(tmp_path / "out" / "ours.parquet")
    assert home.consumption == pytest.approx(total.reshape(-1, 3).sum(axis=1) / 1000)


def sma(folder):
    """Write five-minute readings of SMA's counter; return the file and Wh of each half hour."""
    utc = stamps("Europe/Brussels", "5min", "2025-06-02")
    step = np.round(values(len(utc), most=200))
    wh = 41919016 + np.cumsum(step) - step
    rows = ["sep=,", "Version CSV3|Tool WebUI|Linebreaks CR/LF|Delimiter comma", "", ",STP,STP"]
    rows += [
        ",Metering.TotWhOut,GridMs.Hz (Avg)",
        ",Analog,Analog",
        "DD.MM.YYYY hh:mm:ss,[Wh],[Hz]",
    ]
    local = utc.tz_convert("Europe/Brussels")
    rows += [f"{t:%d.%m.%Y %H:%M:%S},{v:.0f},NaN" for t, v in zip(local, wh, strict=True)]
    path = folder / "sma.csv"
    path.write_text("\n".join(rows))
    return path, utc, step


def test_an_inverter_alone_makes_no_home(tmp_path):
    """SMA's counter is understood, below its lines of names and units; the use is missing."""
    path, _, _ = sma(tmp_path)
    with pytest.raises(InputError, match=r"household sma: no consumption among \['pv'\]"):
        import_files([path], tmp_path / "out", options=Options(timezone="Europe/Brussels"))


@pytest.mark.parametrize("named", [None, "ours"])
def test_an_inverter_joins_the_meter_of_its_home(named, tmp_path):
    """Each file has its own clock; consumption is what was drawn and made less what was fed in."""
    path, utc, step = sma(tmp_path)
    pv = step.reshape(-1, 6).sum(axis=1) / 1000
    times = utc[::6]
    fed = np.round(pv / 2, 6)
    drawn = values(len(times), 7)
    meter = tmp_path / "meter.csv"
    rows = ["timestamp_utc,import,export"]
    rows += [f"{t:%Y-%m-%dT%H:%M},{i},{e}" for t, i, e in zip(times, drawn, fed, strict=True)]
    meter.write_text("\n".join(rows))
    report = import_files(
        [meter], tmp_path / "out", beside=[path],
        options=Options(timezone="Europe/Brussels", name=named),
    )  # fmt: skip
    name = named or "meter"
    home = read_household(tmp_path / "out" / f"{name}.parquet")
    known = slice(0, len(home.frame) - 1)  # the counter's last step is not known
    assert home.frame.index[0] == times[0]
    assert home.frame["pv"].to_numpy()[known] == pytest.approx(pv[: len(home.frame)][known])
    flow = (drawn + pv - fed)[: len(home.frame)]
    assert home.consumption[known] == pytest.approx(flow[known])
    assert any("SMA" in note for note in report.notes)


def test_what_stands_in_two_files_of_a_home_is_refused(tmp_path):
    """Production in the meter's file and in the inverter's: neither is taken for the other's."""
    path, utc, _ = sma(tmp_path)
    meter = tmp_path / "meter.csv"
    rows = [f"{t:%Y-%m-%dT%H:%M},1,0.5" for t in utc[::6]]
    meter.write_text("\n".join(["timestamp_utc,import,pv", *rows]))
    with pytest.raises(InputError, match=r"sma\.csv: pv stands in the other files as well"):
        import_files(
            [meter], tmp_path / "out", beside=[path], options=Options(timezone="Europe/Brussels")
        )
    homes = tmp_path / "homes.csv"
    homes.write_text(
        "\n".join(
            [
                "household,timestamp_utc,consumption",
                *(f"{h},{t:%Y-%m-%dT%H:%M},1" for t in utc[::6] for h in ("A1", "A2")),
            ]
        )
    )
    with pytest.raises(InputError, match="belongs to one home, and the other files hold 2"):
        import_files(
            [homes], tmp_path / "out", beside=[path], options=Options(timezone="Europe/Brussels")
        )


def test_every_mapping_that_ships_names_its_page_and_has_a_sample():
    """Where its layout was read, when, and what is odd about it."""
    mappings = shipped()
    assert set(SAMPLES) - {"nem12", "ha-recorder"} | OTHERS == set(mappings)
    for name, mapping in mappings.items():
        assert mapping.page.startswith("https://"), name
        assert mapping.read_on is not None, name
        assert mapping.read_on >= date(2026, 11, 26), name
        assert mapping.quirks, name
        assert mapping.title, name


def test_48_values_on_a_short_day_ask_for_the_clock(tmp_path):
    """A British day of 23 hours has no room for 48 half hours: the stamps follow another clock."""
    rows = ["MPAN,Date," + ",".join(f"HH{i}" for i in range(1, 49))]
    kwh = values(3 * 48).reshape(3, 48)
    days = pd.date_range("2025-03-29", periods=3)
    rows += [f"1,{d:%d/%m/%Y}," + ",".join(map(str, v)) for d, v in zip(days, kwh, strict=True)]
    path = tmp_path / "hh.csv"
    path.write_text("\n".join(rows))
    with pytest.raises(
        InputError, match=r"row 3: 48 values on a day of 23 hours .* \(--clock UTC\)"
    ):
        import_files([path], tmp_path / "out")
    import_files([path], tmp_path / "out", options=Options(clock="UTC"))
    home = read_household(tmp_path / "out" / "hh.parquet")
    assert home.consumption == pytest.approx(kwh.reshape(-1))


def test_a_production_curve_is_not_taken_for_consumption(tmp_path):
    """The same table of Enedis with 'Production' above it is none of the mapping's files."""
    path = tmp_path / "prod.csv"
    enedis(path, "2025-06-02")
    path.write_text(path.read_text().replace("Consommation", "Production"))
    with pytest.raises(InputError, match=r"format not recognised"):
        import_files([path], tmp_path / "out")
    with pytest.raises(InputError, match=r"do not hold 'Courbe de charge"):
        import_files([path], tmp_path / "out", format_name="enedis")
