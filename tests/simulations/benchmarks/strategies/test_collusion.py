"""Attacks that are fitted to honest updates, by their papers' own conditions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simulations.benchmarks.strategies.collusion import crafted, hidden


def test_inner_product_is_the_mean_backwards() -> None:
    """Mean (2, 0) of (1, 1) and (3, -1), times -0.5."""
    honest = np.array([[1.0, 1.0], [3.0, -1.0]])
    assert crafted("inner-product", honest, 0.5, 10).tolist() == [-1.0, 0.0]


def test_the_quantile_of_a_little_is_enough() -> None:
    """Baruch et al. 2019, section 3.1: n = 50, m = 24 gives s = 2 and z = PPF(24 / 26) = 1.43."""
    assert hidden(50, 24) == pytest.approx(1.426, abs=1e-3)


def test_a_little_is_enough_by_hand() -> None:
    """Of (0, 4) and (2, 4): mean (1, 4), deviation (1, 0); n = 50, m = 24 is z = 1.43."""
    honest = np.array([[0.0, 4.0], [2.0, 4.0]] * 12)
    assert crafted("alie", honest, 5.0, 50) == pytest.approx([1 - 1.426, 4.0], abs=1e-3)


@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-10, 10, width=32)))
def test_min_max_is_no_farther_than_the_honest_are_from_each_other(honest: np.ndarray) -> None:
    """Its condition, and that a hundredth more would break it, unless all honest are alike."""
    sent = crafted("min-max", honest, 5.0, 20)
    reach = max(float(np.linalg.norm(honest - row, axis=1).max()) for row in honest)
    far = float(np.linalg.norm(honest - sent, axis=1).max())
    assert far <= reach * (1 + 1e-6) + 1e-9
    deviation = honest.std(axis=0)
    if np.linalg.norm(deviation) > 1e-3:
        beyond = sent - 0.01 * reach * deviation / np.linalg.norm(deviation)
        assert float(np.linalg.norm(honest - beyond, axis=1).max()) > reach * (1 - 1e-3)
