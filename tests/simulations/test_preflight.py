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
        ("run.metrics=none", "run.metrics"),
    ],
)
def test_a_setting_no_run_can_use_is_one_line_that_names_it(pair: str, named: str) -> None:
    """Unknown names, 70,000 feeders where numbers end at 65,535, a run that may tell nothing."""
    settings = load(None, ["data.source=synthetic", "run.households=70000", pair])
    with pytest.raises(InputError, match=named.replace(".", r"\.")) as caught:
        preflight(settings)
    assert "\n" not in str(caught.value)


def test_a_rule_without_what_it_needs_is_said() -> None:
    """Who runs no shadow run cannot tell what it has lost: a line says that nothing will happen."""
    pairs = ["data.source=synthetic", "market.compensate_losers=true"]
    assert preflight(load(None, pairs))[1] is None
    line = preflight(load(None, [*pairs, "run.shadow=false"]))[1]
    assert line is not None
    assert "run.shadow" in line
