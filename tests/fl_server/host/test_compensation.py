"""A deployed community that compensates: as its simulation does, and once, whenever it dies."""

import json
from pathlib import Path

import pytest
import yaml

from fl_server.ledger import Ledger
from tests.support.community import (
    Homes,
    community,
    contexts,
    run,
    run_though_it_dies,
    simulated,
)
from tests.support.live import MARKET_ONLY, NAMES, never, rows

INTERVALS = 36
RULE = (
    *MARKET_ONLY,
    f"run.days={INTERVALS / 48}",
    "market.mechanism=mid-market",
    "market.compensate_losers=true",
)


def compensated(directory: Path) -> dict[str, int]:
    with Ledger(f"sqlite:///{directory / 'ledger.sqlite'}") as ledger:
        ledger.attach()
        assert ledger.verify().ok
        assert sum(money for _, money in ledger.balances().values()) == 0
        return ledger.compensated()


def test_parity_with_a_simulation_though_the_coordinator_dies_at_its_closing(
    homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the last transaction and again after it, it books the compensation once, with
    the last settlement, and the ledger is that of a simulation row by row."""
    folder = community(tmp_path / "server", homes, NAMES, *RULE, hour=0)
    grid = Homes(contexts(tmp_path, homes, NAMES, folder), never)
    run_though_it_dies(folder, grid, lambda t, *_: t == INTERVALS, monkeypatch)
    moved = compensated(folder.run)
    assert min(moved.values()) < 0 < max(moved.values())
    directory = simulated(homes, tmp_path / "simulated", folder, len(NAMES))
    assert rows(folder.run) == rows(directory)


def test_each_is_measured_by_its_own_battery_and_the_silent_take_no_part(
    homes: Path, tmp_path: Path
) -> None:
    """A household with a battery of its own tells what its own store is worth; one that keeps its
    metrics to itself neither gives nor receives, whatever it has gained."""
    capped = ("market.import_cap_kw=2", "market.mechanism=uniform", "battery.capacity_kwh=5")
    folder = community(tmp_path / "server", homes, NAMES, *RULE, *capped, hour=0)
    own = {NAMES[0]: {"battery": {"capacity_kwh": 4.0}}, NAMES[1]: {"run": {"metrics": "none"}}}
    for name, settings in own.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.yaml").write_text(yaml.safe_dump(settings))
    run(folder, Homes(contexts(tmp_path, homes, NAMES, folder), never))
    reports = json.loads((folder.run / "reports.json").read_text())["households"]
    assert reports[NAMES[1]] == {}
    moved = compensated(folder.run)
    assert moved.keys() == {NAMES[0], NAMES[2]}
    battery = folder.settings(len(NAMES)).battery
    per_kwh = set()
    for name, capacity in ((NAMES[0], 4.0), (NAMES[2], battery.capacity_kwh)):
        told = reports[name]
        for soc, worth in (("soc_end", "end_value"), ("shadow_soc_end", "shadow_end_value")):
            left = (told[soc] - battery.soc_initial) * capacity
            assert left != 0
            per_kwh.add((left > 0, round(told[worth] / left, 9)))
    # One price for what is missing, one for what is more, whatever the battery.
    assert len(per_kwh) == len({more for more, _ in per_kwh})
