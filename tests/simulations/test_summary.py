"""What a run's summary says of money."""

import pytest

from simulations.summary import share_of_optimum


def test_a_share_of_nothing_is_not_told() -> None:
    """Where perfect foresight saves no more than a solver's rounding, or was not asked, there is
    no share; else it is what was saved of what could be."""
    assert share_of_optimum(8.0, 10.0, 6.0) == pytest.approx(0.5)
    assert share_of_optimum(11.0, 10.0, 6.0) == pytest.approx(-0.25)
    assert share_of_optimum(6.68, 6.65, 6.65 - 1e-15) is None
    assert share_of_optimum(6.68, 6.65, 6.65) is None
    assert share_of_optimum(8.0, None, 6.0) is None
    assert share_of_optimum(8.0, 10.0, None) is None
