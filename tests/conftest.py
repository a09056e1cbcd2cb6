"""In what order tests run, and Hypothesis profiles: every day the same examples, so that what makes
a test fail is a change; ``--hypothesis-profile=nightly`` tries 10,000 others per property."""

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.broker", "tests.support.postgres", "tests.support.runs"]

# Two loaded cores make any deadline of one example a matter of luck.
settings.register_profile("everyday", deadline=None, derandomize=True)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=10_000,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("everyday")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what is marked ``nightly`` to ``make nightly``; begin with what ``waits``."""
    # One worker begins with them, and the cores are the others' meanwhile.
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)
    if "FEDWATT_NIGHTLY" in os.environ:
        return
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(pytest.mark.skip(reason="make nightly: takes minutes"))


@pytest.fixture(autouse=True)
def _plain_floats() -> Iterator[None]:
    """Undo what a benchmark sets for its whole process: tiny floats flushed to zero."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
