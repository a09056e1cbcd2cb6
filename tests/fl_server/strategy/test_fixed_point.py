"""The integer sum of models: its guard against absurd values, and its rounding."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl_server.strategy.fixed_point import WeightedSum, largest_magnitude

floats = hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32))


@given(floats)
def test_largest_magnitude(values: np.ndarray) -> None:
    """The largest magnitude is numpy's, and infinite where anything is NaN or infinite."""
    expected = float(np.abs(values).max(initial=0)) if np.isfinite(values).all() else np.inf
    assert largest_magnitude(values) == expected


def test_largest_magnitude_beyond_single_precision() -> None:
    """What float32 cannot hold is infinite."""
    assert largest_magnitude(np.array([1e300, 0.0])) == np.inf


@given(
    hnp.arrays(np.float32, (5, 7), elements=st.floats(-1e3, 1e3, width=32)),
    st.lists(st.integers(1, 10_000), min_size=5, max_size=5),
)
def test_mean_is_the_weighted_mean(models: np.ndarray, weights: list[int]) -> None:
    """The mean of five models is numpy's in float64, to the 30 binary places it is summed in."""
    total = WeightedSum()
    for model, weight in zip(models, weights, strict=True):
        total.add({"w": model}, weight)
    expected = np.average(models.astype(np.float64), axis=0, weights=weights)
    # Half a unit of the 30th place, and the rounding of the result to float32.
    bound = 2.0**-31 + np.abs(expected) * 2.0**-24
    assert (np.abs(total.mean()["w"] - expected) <= bound * (1 + 1e-6)).all()
