"""Files of situations from public reports, where whoever runs the tests has them: their own totals.

Values are those written beside the files, computed apart from this code; of registers last minus
first reading, of powers their sum. ``None``: refused in one line.
"""

import shlex
import shutil

import pytest

from common.data.store import household_files, read_household
from simulations.cli import main
from tests.support.reference import reference

TAB = " --timezone Europe/London"
CASES = [
    *((case, "usage.xml", 77.535, 0.0) for case in ("case01", "case02", "case03", "case06")),
    ("case04", "usage.xml", 77.535, 39.6),
    ("case08", "watt.xml", None, None),
    ("case09", "twice.xml", 77.535, 0.0),
    ("case10", "usage.xml", None, None),
    ("case11", "nodur.xml", 77.535, 0.0),
    ("case11", "notp.xml", 77.535, 0.0),
    ("case12", "u.xml.gz", 77.535, 0.0),
    ("case12", "green_button_data.zip", 77.535, 0.0),
    ("case13", "usage.xml", None, None),
    ("case14", "e.csv", None, None),
    ("case15", "energy_0.csv energy_1.csv", None, None),
    ("case15", "w1.csv w2.csv --name home", 77.535, 0.0),
    ("case18", "h6.csv", 92.551, 0.0),
    ("case19", "h.csv --allow-resets", 92.551, 0.0),
    ("case19b", "h.csv --allow-resets", 46.275, 0.0),
    ("case21", "h.csv", 92.551, 0.0),
    ("case22", "h.csv --allow-resets", 92.320, 0.0),
    ("case23", "h.csv", None, None),
    ("case23", "h.csv --unit W", 92.551, 0.0),
    ("case23b", "h.csv --allow-resets", None, None),
    ("case25", "h.csv", None, None),
    ("case26", "h.csv --unit W", 12.4, 0.0),
    ("case27", "h.csv", None, None),
    ("case31", "tou.csv", 77.503, 0.0),
    ("case34", "rev_austin.csv", 47.874, 48.126),
    ("case36", "utf16.csv", 77.503, 0.0),
    ("case37", "semi.csv --format table", 77.503, 0.0),
    ("case37", "tab.tsv --format table", 77.503, 0.0),
    ("case39", "p1.csv --timezone Europe/Amsterdam", None, None),
    ("case40", "meter.csv", None, None),
    ("case40", "meter.csv --map kWh.first_value=import:kWh:register", 69.458, 0.0),
    ("case41", "home.csv", None, None),
    ("case41", "home.csv --map grid_import=import:kWh --map grid_export=export:kWh", 77.503, 16.0),
    ("case42", "w.csv", None, None),
    ("case43", "consumption.csv", 40.057, 0.0),
    ("case44", "enedis2.csv", 51.873, 0.0),
    ("case87", "w.csv --unit W", 4.65, 0.0),
    ("case87", "w.csv --map Nonsense=fridge", None, None),
    ("case88", "h.csv", None, None),
    ("case89", "h.csv", None, None),
    ("case90", "house.1.csv house.2.csv", None, None),
    ("case92", "jitter.csv", 77.503, 0.0),
    ("case99", "home.csv", None, None),
    ("case101", "g12.csv", None, None),
    ("case103", "household_data_60min_singleindex.csv", 576.56, 192.187),
    ("case106", "household_power_consumption.txt", 34.2, 0.0),
    ("case75", f"c.csv --context day.csv{TAB}", None, None),
    ("case75", f"c.csv --context mwh.csv{TAB}", None, None),
]


@pytest.mark.parametrize(("case", "words", "load", "pv"), CASES)
def test_a_reported_file_gives_its_value_or_one_line(
    case, words, load, pv, tmp_path, monkeypatch, capsys
):
    """kWh of consumption and PV to 1.5 Wh, or exit status 2 and one line."""
    folder = tmp_path / "files"
    shutil.copytree(reference("..", "faults", "data", case), folder)
    monkeypatch.chdir(folder)
    command = ["fedwatt", "data", "import", *shlex.split(words), "--out", "homes"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    if load is None:
        assert stopped.value.code == 2, shown.out
        assert len(shown.err.strip().splitlines()) == 1
        return
    assert stopped.value.code in (0, None), shown.err
    homes = [read_household(path) for path in household_files(folder / "homes")]
    assert sum(h.consumption.sum() for h in homes) == pytest.approx(load, abs=1.5e-3)
    assert sum(h.frame["pv"].sum() for h in homes) == pytest.approx(pv, abs=1.5e-3)
