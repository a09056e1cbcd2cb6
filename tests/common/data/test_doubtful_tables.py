"""Tables that say something else than they seem to: the truth, one line that refuses, or a doubt.

Each is a drawn home in a semicolon table, spoiled in one way; the way is drawn as well.
"""

import numpy as np
import pandas as pd
import pytest

from common.data.formats.mapping import Mapping, change_mapping
from common.data.importing import import_files
from common.data.readings import Options
from common.data.store import read_household
from common.errors import InputError
from common.rng import generator

ZONE = "Europe/Berlin"
STAMPS = pd.date_range(pd.Timestamp("2025-06-02", tz=ZONE), periods=480, freq="30min")
WHEN = [f"{t:%d.%m.%Y %H:%M}" for t in STAMPS]


def drawn(seed, scale=0.25):
    """(480,) kWh of half hours, in whole Wh."""
    return np.round(generator(seed, "", 0, "doubt").gamma(1.2, scale, len(WHEN)) + 0.05, 3)


def brought(folder, columns, roles, when=WHEN, **more):
    """Import columns of cells; return kWh of each half hour and the doubts."""
    path = folder / "table.csv"
    rows = [";".join(["Zeit", *columns])]
    rows += [";".join(map(str, row)) for row in zip(when, *columns.values(), strict=True)]
    path.write_text("\n".join(rows))
    mapping = change_mapping(
        Mapping(),
        {"separator": ";", "time_columns": ("Zeit",), "date_format": "%d.%m.%Y %H:%M"} | more,
    )
    options = Options(timezone=ZONE, name="home", roles=roles, mapping=mapping)
    report = import_files([path], folder / "out", options=options)
    home = read_household(folder / "out" / "home.parquet")
    return home.consumption, report.accounts["home"].doubts


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("Bezug (0.01 kWh)", 100), ("Bezug [0,1 kWh]", 10), ("Bezug (10 Wh)", 100),
        ("Bezug 0.001 kWh", 1000), ("Bezug [100 Wh]", 10), ("Bezug [kWh/h]", 2), ("Bezug kW", 2),
        ("Kanal 1 kWh", 1), ("Bezug T2 [kWh]", 1), ("Zahl 10 Bezug [Wh]", 1000),
    ],
)  # fmt: skip
def test_the_unit_in_a_header_counts_with_its_factor(header, factor, tmp_path):
    """A hundredth of a kWh, ten Wh, or kWh per hour; the number of a channel is no factor."""
    kwh = drawn(1)
    got, _ = brought(tmp_path, {header: np.round(kwh * factor, 6)}, {header: "import"})
    assert got == pytest.approx(kwh, abs=1e-6)


@pytest.mark.parametrize(
    "unit", ["MJ", "kVAh", "kvarh", "m3", "m\u00b3", "therms", "BTU", "0.05 kWh"]
)
@pytest.mark.parametrize("header", ["Bezug [{}]", "Bezug ({})"])
def test_a_unit_that_is_not_read_is_not_taken_for_kwh(unit, header, tmp_path):
    """Gas, reactive energy and joules are refused by name; the user's word makes them energy."""
    name, kwh = header.format(unit), drawn(2)
    with pytest.raises(InputError, match=r"table\.csv: column .* is none that is read"):
        brought(tmp_path, {name: kwh}, {name: "import"})
    got, _ = brought(tmp_path, {name: kwh}, {name: "import:kWh"})
    assert got == pytest.approx(kwh)


@pytest.mark.parametrize(
    ("header", "told"), [("Leistung kW", "kWh"), ("Bezug [Wh]", "kWh"), ("kWh", "W")]
)
def test_a_header_and_a_word_that_differ_are_refused(header, told, tmp_path):
    """Watts told to be energy: one of the two is wrong."""
    with pytest.raises(InputError, match=r"column .* says .* and it is told to be"):
        brought(tmp_path, {header: drawn(3)}, {header: f"import:{told}"})


@pytest.mark.parametrize("sign", ["'", "\u2019", "\u202f", "\u2009", "\u00a0", " ", "."])
def test_thousands_of_every_kind(sign, tmp_path):
    """Groups of three digits before a decimal comma are one number."""
    wh = np.round(drawn(4) * 4000, 1)
    cells = [f"{x:,.1f}".replace(".", "_").replace(",", sign).replace("_", ",") for x in wh]
    got, _ = brought(tmp_path, {"Bezug Wh": cells}, {"Bezug Wh": "import"})
    assert got == pytest.approx(wh / 1000)


def test_points_that_may_be_thousands_are_asked_about(tmp_path):
    """2.612 beside 514: a thousand times as much or not; with the sign told, it is read."""
    wh = np.round(drawn(5) * 4000)
    cells = {"Bezug Wh": [f"{x:,.0f}".replace(",", ".") for x in wh]}
    with pytest.raises(InputError, match=r"row \d+: Bezug Wh = .*thousands or a decimal"):
        brought(tmp_path, cells, {"Bezug Wh": "import"})
    got, _ = brought(tmp_path, cells, {"Bezug Wh": "import"}, decimal=",")
    assert got == pytest.approx(wh / 1000)


@pytest.mark.parametrize("mark", ["9999", "99999", "65535", "32767", "99.999"])
@pytest.mark.parametrize("seed", range(3))
def test_a_mark_of_what_is_missing_is_no_reading(mark, seed, tmp_path):
    """Standing again and again far above the rest, it is refused with row and count."""
    rng = generator(seed, "", 0, "marks")
    at = set(rng.choice(480, int(rng.integers(2, 40)), replace=False).tolist())
    unit = "kWh" if "." in mark else "W"
    scale = 1.0 if "." in mark else 2000.0
    cells = [mark if k in at else f"{x * scale:.3f}" for k, x in enumerate(drawn(seed))]
    with pytest.raises(InputError, match=rf"row {min(at) + 2}: .*in {len(at)} rows.*a mark"):
        brought(tmp_path, {f"P {unit}": cells}, {f"P {unit}": "import"}, decimal=".")


@pytest.mark.parametrize("registers", [False, True])
def test_a_sum_beside_its_parts_is_not_counted_twice(registers, tmp_path):
    """Day, night and their total in one role, as energy or as registers; parts alone add up."""
    kwh = drawn(6)
    night = STAMPS.hour < 6
    parts = [np.where(night, 0, kwh), np.where(night, kwh, 0), kwh]
    if registers:
        parts = [np.round(500 * n + np.cumsum(p), 3) for n, p in enumerate(parts, 1)]
    names = ["HT kWh", "NT kWh", "Summe kWh"]
    roles = dict.fromkeys(names, "import:kWh:register" if registers else "import")
    columns = dict(zip(names, parts, strict=True))
    with pytest.raises(InputError, match="'Summe kWh' is the sum of 'HT kWh'"):
        brought(tmp_path, columns, roles)
    got, _ = brought(tmp_path, columns, {n: roles[n] for n in names[:2]})
    assert got == pytest.approx(kwh[1:] if registers else kwh, abs=0.002)


def test_what_may_be_wrong_is_doubted(tmp_path):
    """A column of flags nobody reads, a meter that leaps, readings of two lengths."""
    kwh = drawn(7)
    flags = ["ok" if k % 9 else "failed" for k in range(480)]
    _, doubts = brought(tmp_path, {"kWh": kwh, "Status": flags}, {"kWh": "import"})
    assert any("Status" in doubt for doubt in doubts)
    leaps = kwh.copy()
    leaps[240] = 20.0
    (tmp_path / "b").mkdir()
    _, doubts = brought(tmp_path / "b", {"kWh": leaps}, {"kWh": "import"})
    assert any("20.0 kWh in one half hour" in doubt for doubt in doubts)
    quarters = pd.date_range(STAMPS[0], periods=960, freq="15min")
    keep = [not (24 <= k % 96 < 30 and k % 2) for k in range(960)]
    when = [f"{t:%d.%m.%Y %H:%M}" for t, k in zip(quarters, keep, strict=True) if k]
    (tmp_path / "c").mkdir()
    _, doubts = brought(tmp_path / "c", {"kWh": np.ones(len(when))}, {"kWh": "import"}, when)
    assert any("twice running" in doubt for doubt in doubts)
