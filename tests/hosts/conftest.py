"""Four synthetic homes, for a community on separate hosts."""

from pathlib import Path

import pandas as pd
import pytest

from common.data.store import write_household
from common.data.synthetic import generate, names


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four synthetic homes, nine days of history and one and a half of run."""
    folder = tmp_path_factory.mktemp("homes")
    first = pd.Timestamp("2023-05-01", tz="Europe/London").tz_convert("UTC")
    for name in names(4):
        write_household(generate(name, seed=3, first=first, intervals=504), folder)
    return folder
