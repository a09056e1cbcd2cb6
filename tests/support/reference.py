"""Independent copies of public data sets, where whoever runs the tests has them."""

import os
from pathlib import Path

import pytest


def reference(*parts: str) -> Path:
    """Return a path below $FEDWATT_REFERENCE_DATA (default ../shared/data), or skip the test."""
    default = Path(__file__).parents[3] / "shared" / "data"
    path = Path(os.environ.get("FEDWATT_REFERENCE_DATA") or default).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no reference data at FEDWATT_REFERENCE_DATA: {'/'.join(parts)}")
    return path
