"""Every draw is a function of four keys, and of nothing else."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.rng import generator, torch_seed


@given(st.integers(0, 2**40), st.text(max_size=8), st.integers(0, 10**6), st.text(max_size=8))
def test_same_keys_same_numbers(seed: int, household: str, round_: int, purpose: str) -> None:
    """Two generators of the same keys agree for as long as one looks."""
    a, b = (generator(seed, household, round_, purpose) for _ in range(2))
    np.testing.assert_array_equal(a.random(8), b.random(8))
    assert 0 <= torch_seed(seed, household, round_, purpose) < 2**63


def test_every_key_matters() -> None:
    """Changing any one key changes the numbers; keys do not run into each other."""
    keys = [
        (0, "A", 0, "x"),
        (1, "A", 0, "x"),
        (0, "B", 0, "x"),
        (0, "A", 1, "x"),
        (0, "A", 0, "y"),
        (0, "", 0, "Ax"),
        (0, "A0", 0, "x"),
    ]
    draws = [tuple(generator(*key).random(4)) for key in keys]
    assert all(a != b for a, b in itertools.combinations(draws, 2))
