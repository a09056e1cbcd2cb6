"""A small community on disk, and runs of it in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from common.config import Settings, load
from common.data.store import write_household
from common.data.synthetic import generate, names

HISTORY_DAYS = 9


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three synthetic homes, nine days of history and two of run."""
    folder = tmp_path_factory.mktemp("homes")
    write_homes(folder, names(3))
    return folder


def write_homes(
    folder: Path,
    who: Sequence[str],
    days: float = 2,
    first: str = "2023-05-01",
    zone: str = "Europe/London",
) -> None:
    """Write synthetic homes that have measured from ``first`` on: HISTORY_DAYS, and ``days``."""
    begin = pd.Timestamp(first, tz=zone).tz_convert("UTC")
    intervals = round((HISTORY_DAYS + days) * 48)
    for name in who:
        write_household(generate(name, seed=3, first=begin, intervals=intervals), folder)


def small(homes: Path, *override: str, households: int = 3, engine: str = "loop") -> Settings:
    """Settings of a run of one day."""
    pairs = [
        f"data.source={homes}",
        f"run.households={households}",
        "run.days=1",
        f"run.history_days={HISTORY_DAYS}",
        f"run.engine={engine}",
        "run.checkpoint_hours=6",
        "model.preset=edge",
        "fl.local_steps=1",
        "fl.every_hours=6",
        *override,
    ]
    return load(None, pairs)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Settings], Path]:
    """Run settings to the end, summary included; returns the run directory."""
    from simulations.simulate import simulate
    from simulations.summary import summarise

    def go(settings: Settings) -> Path:
        directory = tmp_path_factory.mktemp("run")
        simulate(settings, directory)
        summarise(directory, settings, 0.0)
        return directory

    return go


@pytest.fixture(scope="session")
def finished(homes: Path, run: Callable[[Settings], Path]) -> Path:
    """One finished run with the default trader."""
    return run(small(homes))
