"""Four synthetic homes, for a community on separate hosts."""

from pathlib import Path

import pytest

from common.data.synthetic import names
from tests.support.runs import write_homes


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four synthetic homes, nine days of history and one and a half of run."""
    folder = tmp_path_factory.mktemp("homes")
    write_homes(folder, names(4), 1.5)
    return folder
