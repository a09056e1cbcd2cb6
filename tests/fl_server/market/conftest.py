"""Hypothesis profiles: hundreds of books in every run, 10,000 per mechanism by night.

    pytest tests/fl_server/market --hypothesis-profile=nightly
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "nightly",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
