"""fedwatt data, as a person uses it."""

import numpy as np
import pytest

from common.data.quality import measure
from common.data.store import household_files, read_household
from common.data.synthetic import Community, generate, names
from simulations.cli import main
from simulations.data.realism import collect, compare, mean_days
from tests.support.reference import reference


def data(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["fedwatt", "data", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code in (0, None)


def test_generate_check_push_and_compare(tmp_path, monkeypatch, capsys):
    """The same seed writes the same bytes; check names every home and draws; a push can be read."""
    for folder in ("a", "b"):
        data(monkeypatch, "generate", "--out", tmp_path / folder, "--households", 3, "--days", 30)
    files = household_files(tmp_path / "a")
    assert [f.stem for f in files] == ["H0001", "H0002", "H0003"]
    for file in files:
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    data(monkeypatch, "check", tmp_path / "a")
    shown = capsys.readouterr().out
    assert all(f.stem in shown for f in files)
    assert (tmp_path / "a" / "check.png").read_bytes()[:4] == b"\x89PNG"
    url = f"sqlite:///{tmp_path}/homes.sqlite"
    data(monkeypatch, "migrate", url)
    data(monkeypatch, "push", tmp_path / "a", "--to", url)
    assert "3 households in" in capsys.readouterr().out
    words = ("compare", tmp_path / "a", "--households", 3, "--picture", tmp_path / "compare.png")
    data(monkeypatch, *words)
    assert "of 21 hold" in capsys.readouterr().out
    assert (tmp_path / "compare.png").read_bytes()[:4] == b"\x89PNG"


def test_import_prints_an_account_of_the_energy(tmp_path, monkeypatch, capsys):
    """What was in the file, what was kept, what was filled and what is constant."""
    path = tmp_path / "home.csv"
    rows = [
        f"2024-01-{d:02d}T{h:02d}:00Z,{0.5 + h / 24:.3f}" for d in range(1, 4) for h in range(24)
    ]
    del rows[30]
    path.write_text("timestamp,consumption\n" + "\n".join(rows) + "\n")
    data(monkeypatch, "import", path, "--out", tmp_path / "out", "--timezone", "Europe/Rome")
    shown = capsys.readouterr().out
    total = sum(float(row.split(",")[1]) for row in rows)
    assert f"consumption {total:.3f} of {total:.3f} kWh" in shown
    assert "60 min; 1.39% missing; 2 values filled" in shown
    assert "constant for want of data: temperature solar_irradiance price" in shown


def test_policies_prints_the_sql_that_ships(monkeypatch, capsys):
    """The text a project's owner runs."""
    data(monkeypatch, "policies")
    assert "create policy own_readings on readings" in capsys.readouterr().out


def test_comparison_counts_what_does_not_hold():
    """Equal homes hold everywhere; doubled consumption fails every decile."""
    real = {
        key: np.random.default_rng(0).random(42) + 1 for key in collect([]) | {"kwh_per_day": None}
    }
    assert all(line.holds for line in compare(real, real))
    doubled = {**real, "kwh_per_day": 2 * real["kwh_per_day"]}
    assert sum(not line.holds for line in compare(real, doubled)) == 9


def test_generated_homes_look_like_london(tmp_path):
    """42 generated homes against 42 real ones over a year, without car and panels.

    Every figure of the comparison holds for the default seed, and nights are quieter than
    evenings in the mean day by about as much.
    """
    from common.data.importing import import_files

    table = reference("lcl_london_2013", "dev.parquet")
    import_files([table], tmp_path / "real", format_name="canonical")
    real = [read_household(path) for path in household_files(tmp_path / "real")]
    first, rows = real[0].frame.index[0], len(real[0].frame)
    bare = Community(pv=0.0, ev=0.0)
    made = [
        generate(name, seed=0, first=first, intervals=rows, community=bare) for name in names(42)
    ]
    lines = compare(collect([measure(h) for h in real]), collect([measure(h) for h in made]))
    assert [line.what for line in lines if not line.holds] == []
    swing = [day[:, 36:42].mean() / day[:, 6:10].mean() for day in map(mean_days, (real, made))]
    assert swing[1] == pytest.approx(swing[0], rel=0.35)
