"""fedwatt data guess: what it proposes is right or called open, and imports to the truth."""

import numpy as np
import pandas as pd
import pytest

from common.data.formats.mapping import dump_mapping, parse_mapping, shipped
from common.data.guess import LIKELY, OPEN, SURE, guess
from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import read_household
from common.errors import InputError
from tests.support.meter_files import SAMPLES

UTC = pd.date_range("2025-06-09", periods=4 * 48, freq="30min", tz="UTC")
KWH = np.round(np.random.default_rng(5).uniform(0.1, 0.7, len(UTC)), 3)


def propose(path, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    found = guess(path, scratch)
    return found, {part.what: part for part in found.parts}


def table(path, stamps, columns, separator=",", before=""):
    lines = [separator.join(["when", *columns])]
    cells = zip(stamps, *columns.values(), strict=True)
    path.write_text(before + "\n".join([*lines, *(separator.join(map(str, c)) for c in cells)]))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("before", ["", "Report of my meter\nfor 2025\n"])
def test_a_proposal_imports_to_the_truth(separator, before, tmp_path):
    """Registers of two tariffs, a decimal comma where there can be one, saved and used again."""
    comma = separator != ","
    first, second = 8000 + np.cumsum(KWH), 120 + np.cumsum(KWH / 2)
    columns = {
        f"Import T{i} kWh": [f"{v:.3f}".replace(".", "," if comma else ".") for v in values]
        for i, values in ((1, first), (2, second))
    }
    path = table(tmp_path / "t.csv", UTC.strftime("%d/%m/%Y %H:%M"), columns, separator, before)
    found, parts = propose(path, tmp_path)
    assert found.missing == ("--timezone",)
    assert parts["clock"].sure == OPEN
    assert parts["Import T1 kWh"].value == "import, kWh, register"
    mapping = parse_mapping(dump_mapping(found.mapping), "saved.yaml")
    assert mapping == found.mapping
    options = Options(clock="UTC", mapping=mapping)
    import_files([path], tmp_path / "out", options=options)
    home = read_household(tmp_path / "out" / "t.parquet")
    assert home.consumption == pytest.approx(KWH[1:] * 1.5, abs=2e-3)
    assert not (tmp_path / "scratch" / "out").exists()


@pytest.mark.parametrize(
    "name", ["octopus", "enedis-2025", "datadis", "dsmr-reader", "enphase", "ameren"]
)
def test_what_a_known_file_is_guessed_to_be_is_what_it_is(name, tmp_path):
    """Time, unit and kind agree with the mapping that was read from the format's own page."""
    path = tmp_path / "file.csv"
    SAMPLES[name][0](path, "2025-06-02")
    found, _ = propose(path, tmp_path)
    own = shipped()[name]
    assert found.mapping.time.columns == own.time.columns
    assert found.mapping.time.stamps == own.time.stamps
    assert found.mapping.time.format in own.time.format
    kinds = {c.kind or "interval" for c in found.mapping.columns.values()}
    assert kinds == {"interval"}


def test_days_that_may_be_months_are_open_and_days_that_follow_are_likely(tmp_path):
    """One day of 03/04/2025 is March or April: asked. Days that follow each other tell."""
    hours = [f"03/04/2025 {h:02d}:00" for h in range(24)]
    one = table(tmp_path / "one.csv", hours, {"kWh": KWH[:24]})
    found, parts = propose(one, tmp_path)
    assert parts["time"].sure == OPEN
    assert "--date-format" in found.missing
    many = table(tmp_path / "many.csv", UTC[60:].strftime("%m/%d/%Y %H:%M"), {"kWh": KWH[60:]})
    found, parts = propose(many, tmp_path)
    assert found.mapping.time.format == "%m/%d/%Y %H:%M"
    assert parts["time"].sure in (LIKELY, SURE)


def test_what_the_name_does_not_say_is_open(tmp_path):
    """No unit, no role: both are asked; a cost is left out."""
    stamps = UTC.strftime("%Y-%m-%dT%H:%M:%SZ")
    path = table(tmp_path / "t.csv", stamps, {"grid_import": KWH, "abc": KWH, "Cost (EUR)": KWH})
    found, parts = propose(path, tmp_path)
    assert parts["grid_import"].sure == OPEN
    assert parts["abc"].sure == OPEN
    assert parts["Cost (EUR)"].value == "left out"
    assert list(found.mapping.columns) == ["grid_import"]


def test_what_is_no_table_is_refused(tmp_path):
    """Prose has no columns."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear customer,\nyour meter was read.\nYours\n")
    with pytest.raises(InputError, match=r"letter.txt: no table"):
        propose(path, tmp_path)
