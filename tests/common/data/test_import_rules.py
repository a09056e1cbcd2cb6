"""The rules of every import: nothing is guessed, nothing is dropped in silence, one bad part does
not decide over the rest."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest

from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import household_files, read_household
from common.errors import InputError

STAMPS = pd.date_range("2025-06-01", periods=4 * 48, freq="30min", tz="UTC")
KWH = np.round(np.random.default_rng(5).uniform(0.1, 0.7, len(STAMPS)), 3)


def write(path, stamps=STAMPS, **columns):
    frame = pd.DataFrame({"timestamp": stamps.strftime("%Y-%m-%dT%H:%M:%SZ"), **columns})
    frame.to_csv(path, index=False)
    return path


def take(tmp_path, *paths, **given):
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    options = Options(**given.pop("options", {}))
    report = import_files(list(paths), out, options=options, **given)
    return report, [read_household(p) for p in household_files(out)]


@pytest.mark.parametrize(
    "names",
    [
        ["grid_import", "grid_export"],
        ["Verbrauch", "Einspeisung"],
        ["consumption_w"],
        ["kWh.first_value"],
        ["Import T1 kWh", "Import T2 kWh"],
        ["T1", "T2"],
        ["L1", "L2", "L3"],
        ["meter1", "meter2"],
        ["anna", "bob"],
    ],
)
def test_a_column_is_no_home_unless_its_name_or_the_user_says_so(names, tmp_path):
    """Flows, units, tariffs, phases and words are refused as homes; --wide takes them."""
    path = write(tmp_path / "home.csv", **dict.fromkeys(names, KWH))
    with pytest.raises(InputError, match=r"is column .* a home\? .*--wide"):
        take(tmp_path, path)
    if all(n.isalnum() for n in names):
        _, homes = take(tmp_path, path, options={"wide": True})
        assert [h.name for h in homes] == sorted(names)


@pytest.mark.parametrize(
    "names", [["MAC000002", "MAC000005"], ["H1", "H2"], ["A", "B"], ["house_7"]]
)
def test_columns_called_like_numbered_homes_are_homes(names, tmp_path):
    """The usual names of data sets need no option."""
    _, homes = take(tmp_path, write(tmp_path / "wide.csv", **dict.fromkeys(names, KWH)))
    assert [h.name for h in homes] == names


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({"roles": {"consumption": "import"}}, "--map"),
        ({"unit": "W"}, "--unit"),
        ({"first_day": pd.Timestamp("2020-01-01").date()}, "--first-day"),
        ({"allow_resets": True}, "--allow-resets"),
    ],
)
def test_an_option_that_a_format_does_not_read_is_an_error(options, flag, tmp_path):
    """Nothing a user says is dropped in silence."""
    path = write(tmp_path / "home.csv", consumption=KWH)
    with pytest.raises(InputError, match=rf"{flag} is not an option of --format canonical"):
        take(tmp_path, path, options=options, format_name="canonical")


def test_several_files_of_one_home_need_a_word(tmp_path):
    """Two files are one home by --name, two by --each; files of one name are never joined."""
    (tmp_path / "anna").mkdir()
    (tmp_path / "bob").mkdir()
    first = write(tmp_path / "anna" / "usage.csv", STAMPS[:96], consumption=KWH[:96])
    second = write(tmp_path / "bob" / "usage.csv", STAMPS[96:], consumption=KWH[96:])
    with pytest.raises(InputError, match=r"--name NAME' joins them as one home, '--each'"):
        take(tmp_path, first, second)
    with pytest.raises(InputError, match=r"bob/usage.csv: would be household usage, as .*anna"):
        take(tmp_path, first, second, options={"each": True})
    _, homes = take(tmp_path, second, first, options={"name": "ours"})
    assert homes[0].consumption == pytest.approx(KWH)
    other = write(tmp_path / "other.csv", STAMPS[96:], consumption=KWH[96:])
    _, homes = take(tmp_path, first, other, options={"each": True})
    assert [h.name for h in homes] == ["other", "usage"]


@pytest.mark.parametrize("order", ["newest first", "shuffled", "twice", "overlapping"])
def test_the_order_of_rows_and_equal_repetitions_do_not_matter(order, tmp_path):
    """Readings are sorted, equal ones counted once and said to be repeated."""
    at = np.arange(len(STAMPS))
    at = {
        "newest first": at[::-1],
        "shuffled": np.random.default_rng(1).permutation(at),
        "twice": np.repeat(at, 2),
        "overlapping": np.concatenate([at[:100], at[60:]]),
    }[order]
    report, homes = take(tmp_path, write(tmp_path / "h.csv", STAMPS[at], consumption=KWH[at]))
    assert homes[0].consumption == pytest.approx(KWH)
    assert report.accounts["h"].repeated_rows == len(at) - len(KWH)
    assert report.accounts["h"].file_kwh["consumption"] == pytest.approx(KWH.sum())


def test_a_clock_set_back_in_a_file_that_lists_the_newest_first(tmp_path):
    """Of the hour shown twice the file's first rows are then the later ones."""
    true = pd.date_range("2024-10-26 12:00", periods=60, freq="30min", tz="UTC")
    wall = true.tz_convert("Europe/London").strftime("%Y-%m-%d %H:%M")
    frame = pd.DataFrame({"timestamp": wall, "consumption": KWH[:60]})
    for name, rows in (("old", frame), ("new", frame[::-1])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        _, homes = take(tmp_path, tmp_path / f"{name}.csv", options={"timezone": "Europe/London"})
        assert homes[0].frame.index[0] == true[0]
        assert homes[0].consumption == pytest.approx(KWH[:60])


def test_the_clock_of_the_stamps_and_the_zone_of_the_home_are_two_things(tmp_path):
    """Stamps of UTC+10 all year for a home in Sydney: no hour is lost when Sydney's clock moves."""
    true = pd.date_range("2025-10-03 14:00", periods=4 * 48, freq="30min", tz="UTC")
    stamps = true.tz_convert("Etc/GMT-10").strftime("%Y-%m-%d %H:%M")
    path = tmp_path / "nem.csv"
    pd.DataFrame({"timestamp": stamps, "consumption": KWH}).to_csv(path, index=False)
    report, homes = take(
        tmp_path, path, options={"timezone": "Australia/Sydney", "clock": "+10:00"}
    )
    assert (homes[0].timezone, homes[0].frame.index[0]) == ("Australia/Sydney", true[0])
    assert homes[0].consumption == pytest.approx(KWH)
    assert not any("does not exist" in d for d in report.accounts["nem"].doubts)
    wrong, _ = take(tmp_path, path, options={"timezone": "Australia/Sydney"})
    assert any("does not exist" in d and "--clock" in d for d in wrong.accounts["nem"].doubts)
    with pytest.raises(InputError, match=r"--strict: household nem: .*an hour that does not exist"):
        take(tmp_path, path, options={"timezone": "Australia/Sydney"}, strict=True)


def test_a_zone_that_nobody_named_is_said_to_be_assumed(tmp_path):
    """UTC stands in, and the report says so; with a word it does not."""
    path = write(tmp_path / "h.csv", consumption=KWH)
    report, _ = take(tmp_path, path)
    assert any("UTC is assumed" in note for note in report.notes)
    report, _ = take(tmp_path, path, options={"timezone": "Europe/Rome"})
    assert report.notes == []


def test_scattered_gaps_are_gaps_and_not_another_resolution(tmp_path):
    """6 % of the half hours are missing one by one, left out or empty: filled, marked, counted."""
    lost = np.random.default_rng(2).choice(np.arange(50, len(KWH) - 1), 11, replace=False)
    keep = np.setdiff1d(np.arange(len(KWH)), lost)
    gone = write(tmp_path / "gone.csv", STAMPS[keep], consumption=KWH[keep])
    empty = write(
        tmp_path / "empty.csv",
        consumption=np.where(np.isin(np.arange(len(KWH)), lost), np.nan, KWH),
    )
    for path in (gone, empty):
        _, homes = take(tmp_path, path)
        assert homes[0].resolution_minutes == 30
        assert np.flatnonzero(homes[0].filled_rows).tolist() == sorted(lost)
        assert homes[0].consumption[keep] == pytest.approx(KWH[keep])


def test_jitter_of_seconds_is_no_resolution(tmp_path):
    """Stamps up to 4 s beside the half hour are those of the half hour."""
    moved = STAMPS + pd.to_timedelta(np.random.default_rng(3).integers(0, 5, len(STAMPS)), unit="s")
    _, homes = take(tmp_path, write(tmp_path / "h.csv", moved, consumption=KWH))
    assert homes[0].consumption == pytest.approx(KWH)
    assert not homes[0].filled_rows.any()


def history(path, rows):
    lines = [f"{e},{v},{t.strftime('%Y-%m-%dT%H:%M:%S')}.000Z" for e, t, v in rows]
    path.write_text("entity_id,state,last_changed\n" + "\n".join(lines) + "\n")
    return path


def registers(*entities, first=40.0, step=0.05):
    times = pd.date_range("2025-06-01", periods=2 * 288 + 1, freq="5min", tz="UTC")
    return [
        (e, t, round(first + step * i * (n + 1), 4))
        for n, e in enumerate(entities)
        for i, t in enumerate(times)
    ]


def test_a_reading_longer_than_an_hour_keeps_its_energy_and_is_marked(tmp_path):
    """Home Assistant was off for 4 of 48 hours: the register's energy is all there, the eight half
    hours are filled ones."""
    rows = [r for r in registers("sensor.grid_import") if not 10 <= r[1].hour < 14 or r[1].day != 2]
    report, homes = take(tmp_path, history(tmp_path / "h.csv", rows))
    assert homes[0].consumption.sum() == pytest.approx(0.05 * 576)
    assert homes[0].filled_rows.sum() == 8 + 1  # the last row before the pause is at 09:55
    assert report.accounts["h"].kept_kwh["import"] == pytest.approx(0.05 * 576)


def test_two_registers_of_one_meter_add_up_and_others_do_not(tmp_path):
    """Tariffs of one name are summed; two meters that look alike need --map."""
    both = registers("sensor.energy_consumption_tarif_1", "sensor.energy_consumption_tarif_2")
    report, homes = take(tmp_path, history(tmp_path / "t.csv", both))
    assert homes[0].consumption.sum() == pytest.approx(3 * 0.05 * 576)
    assert len(report.accounts["t"].columns["import"]) == 2
    other = history(tmp_path / "o.csv", registers("sensor.grid_import", "sensor.import_total"))
    with pytest.raises(InputError, match=r"both look like import: use --map"):
        take(tmp_path, other)


@pytest.mark.parametrize(
    "entity",
    [
        "sensor.wallbox_charger_energy",
        "sensor.inverter_load_total",
        "sensor.car_energy",
        "sensor.plug_3",
    ],
)
def test_a_word_that_settles_nothing_asks_for_a_role(entity, tmp_path):
    """A car charger is no home battery, a load is no PV: the user says what it is."""
    path = history(tmp_path / "h.csv", registers("sensor.grid_import", entity))
    with pytest.raises(InputError, match=rf"what is {entity}\?.*--map {entity}=ROLE"):
        take(tmp_path, path)
    _, homes = take(tmp_path, path, options={"roles": {entity: "ignore"}})
    assert homes[0].consumption.sum() == pytest.approx(0.05 * 576)


def test_a_bystander_does_not_decide(tmp_path):
    """A thermometer in the same download, with words for states, is left aside."""
    rows = registers("sensor.grid_import")
    rows += [("sensor.mood", t, "sunny") for _, t, _ in rows[::50]]
    _, homes = take(tmp_path, history(tmp_path / "h.csv", rows))
    assert homes[0].consumption.sum() == pytest.approx(0.05 * 576)


def test_consumption_that_contradicts_the_flows_is_refused(tmp_path):
    """A tariff's register forced to be the home's consumption is no third of it."""
    path = write(tmp_path / "h.csv", **{"consumption": KWH, "import": 3 * KWH})
    with pytest.raises(InputError, match=r"consumption is .* import beside it .* not of one home"):
        take(tmp_path, path)
    _, homes = take(
        tmp_path, write(tmp_path / "g.csv", **{"consumption": 2 * KWH, "import": KWH, "pv": KWH})
    )
    assert homes[0].consumption == pytest.approx(2 * KWH)


def test_one_missing_hour_of_pv_is_a_gap_and_refuses_nobody(tmp_path):
    """Where the PV is unknown the consumption that follows from it is; it is filled and marked."""
    pv = np.where(np.arange(len(KWH)) == 100, np.nan, 2.0)
    path = write(tmp_path / "h.csv", **{"import": KWH, "export": np.full(len(KWH), 1.5), "pv": pv})
    _, homes = take(tmp_path, path)
    known = np.arange(len(KWH)) != 100
    assert homes[0].consumption[known] == pytest.approx((KWH + 0.5)[known])
    assert np.flatnonzero(homes[0].filled_rows).tolist() == [100]


def test_flows_that_contradict_each_other_once_are_a_gap_and_often_an_error(tmp_path):
    """One half hour with more export than there can be is left out; a wrong role is refused."""
    n = len(KWH)
    once = np.where(np.arange(n) == 100, 5.0, 0.0)
    columns = {"import": KWH, "export": once, "pv": np.full(n, 0.2)}
    report, homes = take(tmp_path, write(tmp_path / "h.csv", **columns))
    assert report.accounts["h"].contradictions == 1
    assert homes[0].filled_rows[100]
    columns["export"] = np.full(n, 1.0)
    with pytest.raises(
        InputError, match=r"import \+ pv - export gives .* is a role or a sign wrong"
    ):
        take(tmp_path, write(tmp_path / "w.csv", **columns))


def test_cutting_much_of_a_channel_needs_a_word(tmp_path):
    """PV begins on day 3 of 4: refused, cut by 'common', or nothing before it by 'all'."""
    pv = np.where(np.arange(len(KWH)) < 96, np.nan, 0.1)
    path = write(tmp_path / "h.csv", **{"import": KWH, "export": np.zeros(len(KWH)), "pv": pv})
    with pytest.raises(InputError, match=r"pv begins 2025-06-03 00:00 UTC.*would cut .*of import"):
        take(tmp_path, path)
    report, homes = take(tmp_path, path, span="common")
    assert len(homes[0].frame) == 96
    assert sum(report.accounts["h"].left_out_kwh["import"].values()) == pytest.approx(
        KWH[:96].sum()
    )
    _, homes = take(tmp_path, path, span="all")
    assert homes[0].consumption[:96] == pytest.approx(KWH[:96])
    assert homes[0].consumption[96:] == pytest.approx(KWH[96:] + 0.1)
    assert not homes[0].filled_rows.any()


def test_a_register_is_never_energy_per_interval(tmp_path):
    """A column that counts up is refused whatever its name."""
    path = write(tmp_path / "h.csv", consumption=12.0 + np.cumsum(KWH))
    with pytest.raises(InputError, match=r"never falls .*register.*--format table"):
        take(tmp_path, path)


def test_a_household_file_is_imported_again_as_it_is(tmp_path):
    """Marks, zone, resolution and prices stay; only name and zone may be changed."""
    keep = np.setdiff1d(np.arange(len(KWH)), [60, 61, 90])
    path = write(tmp_path / "h.csv", STAMPS[keep], consumption=KWH[keep], export_price=0.07)
    _, (first,) = take(tmp_path, path, options={"timezone": "Australia/Sydney"})
    file = household_files(next(p for p in tmp_path.iterdir() if p.is_dir()))[0]
    _, (again,) = take(tmp_path, file, options={"name": "again"})
    assert again.frame.equals(first.frame)
    assert again.filled_rows.tolist() == first.filled_rows.tolist()
    assert (again.name, again.timezone) == ("again", "Australia/Sydney")
    with pytest.raises(InputError, match=r"is a household file already: --clock cannot change"):
        take(tmp_path, file, options={"name": "b", "clock": "UTC"})


@pytest.mark.parametrize("kind", ["gz", "zip", "utf-16"])
def test_packed_files_are_read_and_named_as_the_user_calls_them(kind, tmp_path):
    """gz, zip and UTF-16 import like the plain file; a fault inside names the outer file."""
    good = write(tmp_path / "h.csv", consumption=KWH).read_bytes()
    for content, fails in ((good, False), (good.replace(b"0.", b"x.", 1), True)):
        path = tmp_path / {"gz": "h.csv.gz", "zip": "h.zip", "utf-16": "u16.csv"}[kind]
        if kind == "gz":
            path.write_bytes(gzip.compress(content))
        elif kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("folder/h.csv", content)
        else:
            path.write_bytes(content.decode().encode("utf-16"))
        if fails:
            with pytest.raises(InputError, match=r"not a number") as caught:
                take(tmp_path, path)
            assert str(caught.value).startswith(str(path))
        else:
            _, homes = take(tmp_path, path)
            assert homes[0].consumption == pytest.approx(KWH)


def test_a_context_of_any_step_holds_for_its_own_time(tmp_path):
    """Prices by the hour, by the quarter hour and newest first give the mean of each half hour; a
    day of prices for four days of readings is refused, and another unit too."""
    path = write(tmp_path / "h.csv", consumption=KWH)
    for step in (15, 30, 60):
        times = pd.date_range(STAMPS[0], periods=4 * 1440 // step, freq=f"{step}min")
        price = np.round(np.random.default_rng(step).uniform(-0.1, 0.4, len(times)), 3)
        expected = price.reshape(-1, 2).mean(axis=1) if step == 15 else np.repeat(price, step // 30)
        context = write(tmp_path / "c.csv", times[::-1], price=price[::-1])
        _, homes = take(tmp_path, path, context=context)
        assert homes[0].frame["price"].to_numpy() == pytest.approx(expected)
    context = write(tmp_path / "c.csv", STAMPS[:48], price=np.full(48, 0.2))
    with pytest.raises(InputError, match=r"price is known for 25.0% of the time"):
        take(tmp_path, path, context=context)
    context = write(tmp_path / "c.csv", price=np.full(len(KWH), 250.0))
    with pytest.raises(InputError, match=r"c.csv: row 2: price = 250.*per MWh"):
        take(tmp_path, path, context=context)


def test_levels_of_the_meter_file_are_means(tmp_path):
    """An hourly table's price holds for both half hours, a quarter-hourly one's is averaged."""
    hours = pd.date_range(STAMPS[0], periods=96, freq="60min")
    price = np.round(np.random.default_rng(0).uniform(0.1, 0.4, 96), 3)
    _, homes = take(tmp_path, write(tmp_path / "h.csv", hours, consumption=KWH[:96], price=price))
    assert homes[0].frame["price"].to_numpy() == pytest.approx(np.repeat(price, 2))
    quarters = pd.date_range(STAMPS[0], periods=192, freq="15min")
    _, homes = take(
        tmp_path, write(tmp_path / "q.csv", quarters, consumption=KWH, price=np.tile(price, 2))
    )
    assert homes[0].frame["price"].to_numpy() == pytest.approx(
        np.tile(price, 2).reshape(-1, 2).mean(axis=1)
    )
