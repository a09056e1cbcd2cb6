import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InputError
from simulations import cli
from simulations.report import figures, write_report
from simulations.report.household import read_household
from tests.simulations.report.reading import Reader, validate


def read(run):
    return Reader(write_report(run).read_text(encoding="utf-8"))


def change(path, **sections):
    """Overwrite keys of a summary."""
    summary = json.loads((path / "summary.json").read_text())
    for name, value in sections.items():
        if isinstance(value, dict) and isinstance(summary.get(name), dict):
            summary[name] |= value
        else:
            summary[name] = value
    (path / "summary.json").write_text(json.dumps(summary))


def test_headline_is_the_summary(write_run, tmp_path):
    """The tiles and the bars show the figures of summary.json, each beside its reference."""
    run = write_run(tmp_path / "run")
    change(
        run,
        cost={
            "community": 1436.7249,
            "no_battery_no_trade": 2000.0,
            "community_optimum": 1400.5,
            "share_of_optimum": 0.93955,
            "losers": 2,
        },
        energy={"self_sufficiency": 0.6124},
    )
    reader = read(run)
    for shown in ("1,436.72", "563.28", "28.2 % of 2,000.00", "94.0 %", "1,400.50", "2 of 3"):
        assert shown in reader.text
    assert "61.2 %" in reader.text
    bars = reader.figure("Cost of the community against its references")["traces"][0]
    paid = dict(zip(bars["y"], bars["x"], strict=True))
    assert paid["This run"] == 1436.7249
    assert paid["Optimum, whole community"] == 1400.5


def test_households_that_lose_are_marked(write_run, tmp_path):
    """The table marks exactly those that pay over 0.01 more than without a market."""
    run = write_run(tmp_path / "run")
    rows = [
        {"name": "gains", "cost": 10.0, "shadow": 11.0},
        {"name": "even", "cost": 10.009, "shadow": 10.0},
        {"name": "loses", "cost": 10.02, "shadow": 10.0},
        {"name": "unknown", "cost": 10.0, "shadow": None},
    ]
    change(run, households_detail=rows)
    reader = read(run)
    marked = [row["name"] for row in rows if "loses" in reader.row(row["name"])[3]]
    assert marked == ["loses"]
    assert reader.row("gains")[3] == "1.00"


def _has(name, **other):
    home = {
        "battery_kwh": 13.5, "battery_kw": 5.0, "pv_kwh": 0.0, "import_kw": 20.0, "export_kw": 8.0,
        "trader": "bid-curve", "import_price": 0.2, "export_price": 0.05,
        "timezone": "Europe/London",
    }  # fmt: skip
    return {"name": name, "cost": 1.0, "home": home | other}


def test_what_homes_have_is_told_where_it_differs(write_run, tmp_path):
    """Each home's own battery, connection, prices and zone stand in its row; what all have alike is
    one sentence; a home without battery is no row of the batteries; prices are called means."""
    run = write_run(tmp_path / "run")
    rows = [
        _has("B01", battery_kwh=0.0, trader="greedy"),
        _has("B02", import_kw=6.0, import_price=-0.01, timezone="Asia/Kolkata"),
        _has("B03", pv_kwh=12.0),
    ]
    change(run, households_detail=rows, data={"timezone": "Europe/London, Asia/Kolkata"})
    reader = read(run)
    found = {row[0]: row[1:] for row in reader.rows if row and len(row) == 7 and row[0][0] == "B"}
    assert found["B01"] == ["none", "none", "20 kW in, 8 kW out", "greedy", "0.200",
                            "Europe/London"]  # fmt: skip
    assert found["B02"] == ["13.5 kWh, 5 kW", "none", "6 kW in, 8 kW out", "bid-curve", "-0.010",
                            "Asia/Kolkata"]  # fmt: skip
    assert found["B03"][1] == "made 12.0 kWh"
    assert "Alike in all homes: grid pays, mean 0.050." in reader.text
    assert "UTC, the homes lie in Europe/London and Asia/Kolkata" in reader.text
    assert "trader: bid-curve, greedy" in reader.text
    assert reader.figure("State of charge")["traces"][0]["y"] == ["B02", "B03"]
    assert "1 household without a battery left out" in reader.text
    prices = reader.figure("Prices and energy traded between neighbours")["traces"]
    assert prices[0]["name"] == "Retail, mean of the homes"


def test_equal_homes_are_one_sentence(write_run, tmp_path):
    """No table where nothing differs, and times are the homes' own."""
    run = write_run(tmp_path / "run")
    change(run, households_detail=[_has("B01"), _has("B02")], data={"timezone": "Asia/Kolkata"})
    reader = read(run)
    assert "What each household has" not in reader.text
    assert "Alike in all homes: battery 13.5 kWh, 5 kW; panels none; connection" in reader.text
    assert "(Asia/Kolkata)" in reader.text
    prices = reader.figure("Prices and energy traded between neighbours")["traces"]
    assert prices[0]["name"] == "Retail"


@pytest.mark.parametrize(
    ("checks", "verdicts"),
    [
        ({}, ["✓ pass"] * 3),
        ({"energy_residual_kwh_max": 2e-6}, ["✗ fail", "✓ pass", "✓ pass"]),
        ({"money_residual_max": 1}, ["✓ pass", "✗ fail", "✓ pass"]),
        ({"limit_violations": 3}, ["✓ pass", "✓ pass", "✗ fail"]),
        ({"money_residual_max": None}, ["✓ pass", "not known", "✓ pass"]),
    ],
)
def test_a_check_that_fails_is_said_at_the_top(write_run, tmp_path, checks, verdicts):
    """One failed or unknown check takes the seal from the head of the page."""
    run = write_run(tmp_path / "run", households=1, intervals=2)
    change(run, checks=checks)
    reader = read(run)
    rows = ("Energy balance, largest residual", "Money balance, largest residual")
    rows = (*rows, "Connection and battery limits broken")
    assert [reader.row(name)[3] for name in rows] == verdicts
    assert ("✓ Energy and money balance" in reader.text) == (not checks)


def test_synthetic_homes_are_never_called_real(write_run, tmp_path):
    """Only ``real: true`` earns the badge."""
    run = write_run(tmp_path / "run", households=1, intervals=2)
    for value, expected in ((True, True), (False, False), (None, False), ("yes", False)):
        change(run, data={"real": value})
        assert ("Real homes" in read(run).text) == expected


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    households=st.integers(1, 3),
    intervals=st.sampled_from([1, 2, 7, 48, 97]),
    parts=st.fixed_dictionaries(
        {k: st.booleans() for k in ("learning", "references", "trading", "databases")}
    ),
    gone=st.sets(st.sampled_from(["intervals.jsonl", "rounds.jsonl", "config.yaml"])),
)
def test_runs_with_missing_parts(write_run, tmp_path_factory, households, intervals, parts, gone):
    """Whatever a run lacks, the page is well formed and every figure fits plotly's schema."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    run = write_run(directory, households=households, intervals=intervals, **parts)
    for name in gone:
        (run / name).unlink()
    reader = read(run)
    assert "nan" not in reader.text.split()
    for spec in reader.specs:
        validate(spec)
    titles = [spec["title"] for spec in reader.specs]
    assert ("Loss of the shared model" in titles) == (
        parts["learning"] and intervals >= 6 and "rounds.jsonl" not in gone
    )
    assert ("Forecast and what happened, house by house" in titles) == (
        parts["databases"] and "intervals.jsonl" not in gone
    )


def test_a_summary_of_nothing_but_nulls(write_run, tmp_path):
    """Null and absent values are dashes, not errors."""
    run = write_run(tmp_path / "run", households=1, intervals=2, databases=False)
    summary = json.loads((run / "summary.json").read_text())
    hollow = {k: dict.fromkeys(v) if isinstance(v, dict) else None for k, v in summary.items()}
    for content in (hollow, {}, {"cost": None, "households_detail": [{"name": "A"}, 3]}):
        (run / "summary.json").write_text(json.dumps(content))
        for spec in read(run).specs:
            validate(spec)


def test_same_run_same_bytes(write_run, tmp_path):
    """Nothing of the clock or the machine is in the page."""
    run = write_run(tmp_path / "run")
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_hostile_household_names(write_run, tmp_path):
    """A name from data is shown letter by letter in tables, selector and pictures."""
    names = ["<img src=x onerror=alert(1)>", '@1" onclick="x', "Größe & Söhne"]
    reader = read(write_run(tmp_path / "run", names=names))
    assert not [tag for tag, attributes in reader.tags if tag == "img" or "onclick" in attributes]
    chosen = reader.figure("Forecast and what happened, house by house")["choices"]["names"]
    assert sorted(chosen) == sorted(names)
    dots = reader.figure("Cost of each household")["traces"][0]
    assert "&lt;img src=x onerror=alert(1)>" in dots["y"]


def test_what_went_wrong_is_counted(write_run, tmp_path):
    """One reply missing in the second interval, one update dropped in the fourth round."""
    reader = read(write_run(tmp_path / "run", households=1, intervals=48))
    assert reader.row("Replies too late or missing")[1] == "1"
    assert reader.row("… not finite")[1] == "1"
    assert reader.row("Values filled in the data")[1] == "7"


def test_long_runs_are_thinned_and_say_so(write_run, tmp_path):
    """Half a year is drawn as daily means whose energy is still all of it."""
    run = write_run(tmp_path / "run", households=2, intervals=182 * 48)
    reader = read(run)
    spec = reader.figure("Prices and energy traded between neighbours")
    traded = next(trace for trace in spec["traces"] if trace["name"] == "Traded")
    assert len(traded["y"]) == 182
    lines = (run / "intervals.jsonl").read_text().splitlines()
    total = sum(json.loads(line)["delivered_kwh"] for line in lines)
    assert sum(traded["y"]) == pytest.approx(total, abs=182 * 1e-4)
    assert "Prices are means of 1 day" in reader.text
    household = reader.figure("Forecast and what happened, house by house")
    assert len(household["choices"]["values"][0][0]) <= 3000
    assert "Each point is the mean of" in reader.text


def test_forecast_is_drawn_where_it_was_meant(write_run, tmp_path):
    """Derived by hand: loads 1, 3; day-ahead 2, 2 and, issued later for t = 1, a 5 that replaces.

    Then the forecast is 2, 5, the errors 1 and 2, RMSE sqrt(2.5) over the mean load 2.
    """
    run = write_run(tmp_path / "run", households=1, intervals=2)
    file = run / "households" / "B01" / "household.sqlite"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM forecasts")
        for t, load, newest in ((0, 1.0, 1.5), (1, 3.0, None)):
            database.execute(
                "UPDATE intervals SET load = ?, forecast_load = ? WHERE t = ?", (load, newest, t)
            )
        for t, value in ((0, 2.0), (1, 5.0)):
            blob = np.full(48, value, dtype="<f4").tobytes()
            database.execute("INSERT INTO forecasts VALUES (?, 'consumption_day', ?)", (t, blob))
    record = read_household("B01", file, origin=0, length=2, size=1, window=1)
    assert record.day_ahead.tolist() == [2.0, 5.0]
    assert record.day_ahead_nrmse == pytest.approx(np.sqrt(2.5) / 2)
    later = read_household("B01", file, origin=1, length=1, size=1, window=1)
    assert later.day_ahead.tolist() == [5.0]
    assert later.series["load"].tolist() == [3.0]


def test_error_by_round_is_that_of_the_newest_forecast(write_run, tmp_path):
    """Derived by hand: load 2 always; forecast 2 + e, so nRMSE = e / 2; yesterday is exact, so 0.

    The first day has no yesterday and is left out; e is 1 on the second day, 3 on the third.
    """
    run = write_run(tmp_path / "run", households=2, intervals=144)
    records = []
    for name in ("B01", "B02"):
        file = run / "households" / name / "household.sqlite"
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(
                "UPDATE intervals SET load = 2, forecast_load = "
                "CASE WHEN t < 48 THEN 99 WHEN t < 96 THEN 3 ELSE 5 END"
            )
        records.append(read_household(name, file, origin=0, length=144, size=1, window=6))
    from simulations.report.run import read_run

    html = str(figures.forecast_error(read_run(run), records, 6))
    newest, yesterday = Reader(html).specs[0]["traces"]
    assert newest["y"][15] == pytest.approx(0.5)
    assert newest["y"][23] == pytest.approx(1.5)
    assert newest["y"][:15] == [None] * 15
    assert {y for y in yesterday["y"] if y is not None} == {0.0}


def test_local_times_are_drawn_when_the_run_names_its_zone(write_run, tmp_path):
    """07:00 UTC is midnight in Los Angeles in October; without a zone the page says UTC."""
    run = write_run(tmp_path / "run", households=1, intervals=2)
    assert "2016-10-01 07:00" in read(run).text
    change(run, data={"timezone": "America/Los_Angeles"})
    reader = read(run)
    assert "2016-10-01 00:00 to 2016-10-01 00:30 (America/Los_Angeles)" in reader.text


def broken_nothing(run):
    (run / "summary.json").unlink()


def broken_summary(run):
    (run / "summary.json").write_text('{"seed": 1')


def broken_summary_kind(run):
    (run / "summary.json").write_text("[1, 2]")


def broken_line(run):
    with (run / "intervals.jsonl").open("a") as file:
        file.write("{not json}\n")


def broken_key(run):
    (run / "rounds.jsonl").write_text('{"interval": 6}\n')


def broken_time(run):
    (run / "intervals.jsonl").write_text('{"interval": 0, "time": "noon"}\n')


def broken_settings(run):
    (run / "config.yaml").write_text("a: [1")


def broken_database(run):
    (run / "households" / "B01" / "household.sqlite").write_bytes(b"not a database" * 99)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (broken_nothing, "no summary.json"),
        (broken_summary, "summary.json: not JSON"),
        (broken_summary_kind, "expected an object, got list"),
        (broken_line, "intervals.jsonl line 3: not JSON"),
        (broken_key, "rounds.jsonl record 1: no 'round'"),
        (broken_time, "intervals.jsonl: time"),
        (broken_settings, "config.yaml: not YAML"),
        (broken_database, "household.sqlite: not a household database"),
    ],
)
def test_damaged_runs_are_named_in_one_line(write_run, tmp_path, monkeypatch, capsys, harm, named):
    """Exit status 2, one line that names the file, and the old report stays as it was."""
    run = write_run(tmp_path / "run", households=1, intervals=2)
    before = write_report(run).read_bytes()
    harm(run)
    monkeypatch.setattr("sys.argv", ["fedwatt", "report", str(run)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1
    assert (run / "report.html").read_bytes() == before
    assert sorted(p.name for p in run.glob("report*")) == ["report.html"]


def test_a_directory_that_is_none(tmp_path):
    """The message names the path."""
    with pytest.raises(InputError, match="gone: no such directory"):
        write_report(tmp_path / "gone")


def test_command_prints_the_path(write_run, tmp_path, monkeypatch, capsys):
    """``fedwatt report DIR`` writes DIR/report.html and says where it is."""
    run = write_run(tmp_path / "run", households=1, intervals=2)
    monkeypatch.setattr("sys.argv", ["fedwatt", "report", str(run)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()
