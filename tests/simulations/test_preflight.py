"""What a run could fail on later is said before anything is started."""

import pytest

from common.config import load
from common.errors import InputError
from simulations.preflight import preflight


@pytest.mark.parametrize(
    ("pair", "named"),
    [
        ("market.mechanism=auction", "market.mechanism"),
        ("market.feeder_size=1", "market.feeder_size"),
        ("trader.kind=wise", "trader.kind"),
    ],
)
def test_a_setting_no_run_can_use_is_one_line_that_names_it(pair: str, named: str) -> None:
    """Unknown names, and 70,000 feeders where numbers end at 65,535."""
    settings = load(None, ["data.source=synthetic", "run.households=70000", pair])
    with pytest.raises(InputError, match=named.replace(".", r"\.")) as caught:
        preflight(settings)
    assert "\n" not in str(caught.value)
