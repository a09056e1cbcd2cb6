"""What a run could fail on later is said before anything is started."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.config import load
from common.data.importing import import_files
from common.data.readings import Options
from common.errors import InputError
from simulations.preflight import preflight


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        ("market.mechanism=auction", "market.mechanism"),
        ("market.feeder_size=1", "market.feeder_size"),
        ("trader.kind=wise", "trader.kind"),
        ("run.metrics=none", "run.metrics"),
    ],
)
def test_a_setting_no_run_can_use_is_one_line_that_names_it(pair: str, named: str) -> None:
    """Unknown names, 70,000 feeders where numbers end at 65,535, a run that may tell nothing."""
    settings = load(None, ["data.source=synthetic", "run.households=70000", pair])
    with pytest.raises(InputError, match=named.replace(".", r"\.")) as caught:
        preflight(settings)
    assert "\n" not in str(caught.value)


def test_a_rule_without_what_it_needs_is_said() -> None:
    """Who runs no shadow run cannot tell what it has lost: a line says that nothing will happen."""
    pairs = ["data.source=synthetic", "market.compensate_losers=true"]
    assert preflight(load(None, pairs)).said == ()
    (line,) = preflight(load(None, [*pairs, "run.shadow=false"])).said
    assert "run.shadow" in line


def test_what_the_import_doubted_is_said_again_before_a_run(tmp_path: Path) -> None:
    """Doubts that only the files showed (a false clock), and those of the readings: each once,
    with the households that share it, and those of many homes not on many lines."""
    begin = pd.Timestamp("2025-03-28")
    stamps = pd.date_range(begin, periods=20 * 48, freq="30min")
    kwh = np.random.default_rng(0).uniform(0.1, 0.4, (len(stamps), 6)).round(3)
    table = pd.DataFrame(kwh, columns=[f"H{n}" for n in range(6)])
    table.insert(0, "timestamp", stamps.strftime("%Y-%m-%dT%H:%M:%S"))
    table.to_csv(tmp_path / "homes.csv", index=False)
    options = Options(timezone="Europe/London")
    report = import_files([tmp_path / "homes.csv"], tmp_path / "homes", options=options)
    pairs = [f"data.source={tmp_path / 'homes'}", "run.history_days=2", "run.days=1"]
    said = preflight(load(None, [*pairs, "run.households=6"])).said
    assert len(said) == 2
    for text in said:
        line = text.removeprefix("doubt: H0, H1, H2, H3 and 2 more: ")
        assert line in report.accounts["H5"].doubts
    assert any("an hour that does not exist" in line for line in said)
    one = preflight(load(None, [*pairs, "run.households=1"])).said
    assert all(line.startswith("doubt: H0: ") for line in one)
