"""What a run starts from."""

import numpy as np
import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize(
    ("preset", "compression", "secure", "expected"),
    [
        ("full", "auto", False, "bfloat16"),
        ("slot", "auto", False, "none"),
        ("full", "auto", True, "none"),
        ("full", "none", False, "none"),
        ("slot", "int8", False, "int8"),
    ],
)
def test_updates_travel_as_the_preset_computes(
    preset: str, compression: str, secure: bool, expected: str
) -> None:
    """Left to itself an update is written in bfloat16 where its preset trains in it and in float32
    elsewhere; what is said holds. Either way it is the same run."""
    fl = {"compression": compression, "secure_aggregation": secure}
    settings = Settings.model_validate({"fl": fl, "model": {"preset": preset}})
    assert settings.update_compression == expected
    said = Settings.model_validate({"fl": fl | {"compression": expected}, "model": settings.model})
    assert settings.digest() == said.digest()


def test_only_updates_may_be_left_to_the_preset() -> None:
    """The way down has no automatic choice, and says so."""
    with pytest.raises(ValidationError, match="compression_down"):
        Settings.model_validate({"fl": {"compression_down": "auto"}})
