"""Settings that pass are settings that a run can count with: no figure is too large for it."""

import pytest

from common.config import load
from common.errors import InputError

KEYS = (
    "battery.capacity_kwh", "battery.power_kw", "battery.wear_cost_per_kwh",
    "connection.import_kwh", "connection.export_kwh", "tariff.retail", "tariff.feed_in",
    "market.feeder_fee",
    "market.import_cap_kw", "market.export_cap_kw", "market.scarcity_price", "run.days",
    "run.reply_deadline_s", "fl.max_update_mb",
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["1e13", "1e300", ".inf", ".nan", "10000000000000000000000"])
def test_absurd_figures_are_refused_at_the_entrance(key: str, value: str) -> None:
    """One line that names the key, before anything is computed with it."""
    with pytest.raises(InputError, match=key):
        load(None, [f"{key}={value}"])
