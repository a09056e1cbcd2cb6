"""Bad input: exit status 2, one line with file and row, and nothing written."""

import pandas as pd
import pytest

from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import read_household
from common.errors import InputError
from simulations.cli import main
from tests.support.samples import canonical_wide

LCL = "LCLid,stdorToU,DateTime,KWH/hh (per half hour) \n"


def lcl(*rows):
    stamps = pd.date_range("2013-01-01", periods=60, freq="30min")
    good = [f"MAC1,Std,{t:%Y-%m-%d %H:%M:%S}.0000000, 0.1 " for t in stamps]
    return LCL + "\n".join([*good, *rows]) + "\n"


def table(edit=lambda rows: rows, head="timestamp,consumption", zone="Z"):
    stamps = pd.date_range("2024-01-01", periods=60, freq="30min")
    rows = [f"{t.isoformat()}{zone},0.25" for t in stamps]
    return head + "\n" + "\n".join(edit(rows)) + "\n"


def history(*states):
    rows = [
        f"sensor.meter,{state},2024-01-01T00:{5 * i:02d}:00+00:00" for i, state in enumerate(states)
    ]
    return "entity_id,state,last_changed\n" + "\n".join(rows) + "\n"


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    '<feed xmlns:espi="http://naesb.org/espi"><entry>&b;</entry></feed>'
)
EXTERNAL = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    '<feed xmlns:espi="http://naesb.org/espi"><entry>&a;</entry></feed>'
)


def coarser(rows):
    return [*rows[:20], *rows[20::2]]


CASES = {
    "truncated row": (lcl("MAC1,Std,2013-01-02 06"), r"row 62: 3 columns instead of 4"),
    "truncated value": (lcl("MAC1,Std,2013-01-02 06:3,0.1"), r"row 62: DateTime = .*: not a time"),
    "wrong separator": (lcl().replace(",", ";"), r"no energy column|separator"),
    "wrong separator, canonical": (table().replace(",", ";"), r"not recognised"),
    "text for a number": (lcl("MAC1,Std,2013-01-02 06:00:00.0000000,abc"), r"row 62: .*'abc'"),
    "infinity": (lcl("MAC1,Std,2013-01-02 06:00:00.0000000,inf"), r"row 62: .*not a number"),
    "negative": (
        lcl("MAC1,Std,2013-01-02 06:00:00.0000000,-0.3"),
        r"row 62: household MAC1: consumption = -0.3 kWh: negative",
    ),
    "a million kWh": (
        lcl("MAC1,Std,2013-01-02 06:00:00.0000000,1000000"),
        r"row 62: household MAC1: consumption = 1e\+06 kWh: more than 100 kWh",
    ),
    "conflicting repetition": (
        lcl("MAC1,Std,2013-01-01 03:00:00.0000000, 0.9 "),
        r"row 62: household MAC1: duplicate reading 2013-01-01T03:00",
    ),
    "contradiction": (
        table(lambda r: [*r[:9], r[8].replace("0.25", "0.5"), *r[9:]]),
        r"row 11: .*duplicate reading 2024-01-01T04:00:00 UTC: .* 0.5 here and 0.25 in row 10",
    ),
    "mixed resolutions": (table(coarser), r"row 23: .*mixed resolutions: 60 minutes.*30"),
    "no zone": (table(zone=""), r"row 2: timestamp has no offset: .*--timezone"),
    "zones mixed": (
        table(lambda r: [r[0], r[1].replace("Z", ""), *r[2:]]),
        r"row 3: timestamp = .*offset and others none",
    ),
    "unknown column": (table(head="timestamp,wattage").replace(",0.25", ",1e9"), r"1e\+09|wattage"),
    "daily": (
        "timestamp,consumption\n" + "".join(f"2024-01-0{d}T00:00Z,9\n" for d in range(1, 9)),
        r"readings every 24 hours",
    ),
    "too many gaps": (table(lambda r: [*r[:20], *r[40:]]), r"household file: 33.3% of its half"),
    "meter reset": (
        history(100.2, 100.4, 0.1, 0.3),
        r"row 4: .*the meter falls from 100.4 to 0.1: a reset",
    ),
    "set back": (history(100.2, 100.4, 100.3), r"row 4: .*the meter falls.*does not come back"),
    "xml bomb": (BOMB, r"refused: XML entities or a document type"),
    "external entity": (EXTERNAL, r"refused: XML entities or a document type"),
    "truncated xml": ('<feed xmlns="http://naesb.org/espi"><entry>', r"not well-formed XML"),
    "empty": ("", r"the file is empty"),
    "header only": (LCL, r"no rows|no readings"),
    "unknown format": ("a,b\n1,2\n", r"format not recognised; name it with --format"),
    "binary": ("\x00\x01\x02", r"format not recognised"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_named_with_its_row_and_nothing_is_written(case, tmp_path):
    """One line that begins with the file; the folder asked for does not exist afterwards."""
    text, message = CASES[case]
    path = tmp_path / "file.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        import_files([path], tmp_path / "out")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_truncated_parquet_table_is_named(tmp_path):
    """The end of the file holds its index: without it nothing can be read."""
    path = tmp_path / "wide.parquet"
    pd.DataFrame({"timestamp_utc": pd.date_range("2024-01-01", periods=99), "A": 1.0}).to_parquet(
        path
    )
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"wide.parquet: not a readable Parquet file"):
        import_files([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reset_is_counted_on_from_zero_when_asked(tmp_path):
    """100.2, 100.4, 0.1, 0.3 holds 0.2 + 0.1 + 0.2 kWh."""
    path = tmp_path / "meter.csv"
    path.write_text(history(*(100.2, 100.4, 0.1, 0.3), *([0.3] * 6)))
    report = import_files([path], tmp_path / "out", options=Options(allow_resets=True))
    assert report.accounts["meter"].file_kwh["import"] == pytest.approx(0.5)


def test_an_existing_folder_is_left_as_it_was(tmp_path):
    """A failing import into a folder in use takes nothing away and adds nothing."""
    paths, options, _, _ = canonical_wide(tmp_path)
    out = tmp_path / "out"
    import_files(paths, out, options=options)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(InputError, match=r"already holds MAC0.parquet"):
        import_files(paths, out, options=options)
    bad = tmp_path / "bad.csv"
    bad.write_text(lcl("MAC2,Std,2013-01-02 06:00:00.0000000,-1"))
    with pytest.raises(InputError):
        import_files([bad], out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_one_home_full_of_gaps_does_not_stop_the_others(tmp_path):
    """The home is refused by name; the others are written."""
    path = tmp_path / "homes.csv"
    stamps = pd.date_range("2024-01-01", periods=96, freq="30min")
    frame = pd.DataFrame({"timestamp_utc": stamps, "A": 0.2, "B": 0.3})
    frame.loc[20:60, "B"] = float("nan")
    frame.to_csv(path, index=False)
    report = import_files([path], tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["A.parquet"]
    assert "household B: 42.7%" in report.refused["B"]
    assert read_household(tmp_path / "out" / "A.parquet").filled_values == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "{dir}", "--out", "{dir}/out"], "is a directory"),
        (["import", "{dir}", "--format", "lcl", "--out", "{dir}/out"], "is a directory"),
        (["import", "{dir}/none.csv", "--out", "{dir}/out"], "no such file"),
        (["import", "{dir}/file.csv", "--format", "tarot", "--out", "{dir}/out"], "tarot"),
        (["import", "{dir}/file.csv", "--timezone", "Mars/Base", "--out", "{dir}/o"], "Mars/Base"),
        (["import", "{dir}/file.csv", "--out", "{dir}/out"], "row 62: household MAC1"),
        (["import", "{dir}/file.csv", "--out", "{dir}/file.csv"], "cannot be made"),
        (["generate", "--out", "{dir}/file.csv/x"], "cannot be made"),
        (["check", "{dir}/file.csv"], "not a readable Parquet file"),
        (["check", "{dir}/none"], "no such folder"),
        (["push", "{dir}", "--to", "postgresql://me:secret@h/db"], "PGPASSWORD"),
        (["migrate", "mysql://h/db"], "known: postgresql://, sqlite:///"),
        (["migrate", "postgresql://me@127.0.0.1:9/db"], "refused"),
        (["generate", "--out", "{dir}/out", "--site", "moon"], "moon"),
    ],
)
def test_the_command_exits_with_2_and_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    """What a user sees: no traceback, one line on standard error, nothing else on the disk."""
    (tmp_path / "file.csv").write_text(lcl("MAC1,Std,2013-01-02 06:00:00.0000000,-1"))
    words = [word.format(dir=tmp_path) for word in arguments]
    monkeypatch.setattr("sys.argv", ["fedwatt", "data", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr().err
    assert stopped.value.code == 2, shown
    assert len(shown.strip().splitlines()) == 1
    assert message in shown
    assert "secret" not in shown
    assert [p.name for p in tmp_path.iterdir()] == ["file.csv"]
