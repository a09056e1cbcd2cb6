"""Hypothesis profiles: ``--hypothesis-profile=nightly`` tries 10,000 examples per property."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.broker", "tests.support.postgres", "tests.support.runs"]

# Two loaded cores make any deadline of one example a matter of luck.
settings.register_profile("everyday", deadline=None)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=10_000,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("everyday")


@pytest.fixture(autouse=True)
def _plain_floats() -> Iterator[None]:
    """Undo what a benchmark sets for its whole process: tiny floats flushed to zero."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
