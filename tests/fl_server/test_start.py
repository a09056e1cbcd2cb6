"""What a run starts from."""

import numpy as np
import pytest

from common.config import Settings
from common.data.source import source_of
from fl_server.prices import published_prices


@pytest.mark.parametrize("days", [0.25, 1.0, 2.0])
def test_prices_are_published_beyond_the_data(days: float) -> None:
    """Where the data end with the run, each later half hour costs what it cost a day before,
    also when the run itself is shorter than that day."""
    settings = Settings.model_validate(
        {"run": {"days": days, "households": 1}, "data": {"source": "synthetic"}}
    )
    source = source_of(settings)
    start = source.start()
    prices = published_prices(settings, source, start).retail[0]
    intervals = settings.intervals
    assert len(prices) == intervals + settings.published
    home = source.load(source.names()[0])
    row = home.row(start)
    known = home.frame["price"].to_numpy(np.float64)
    assert prices[:intervals].tolist() == known[row : row + intervals].tolist()
    both = np.concatenate((known[row - 48 : row], prices))
    beyond = 48 + len(known) - row
    assert both[beyond:].tolist() == both[beyond - 48 : -48].tolist()
