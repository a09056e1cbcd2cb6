import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from simulations.report.thin import DAILY, SIZES, bucket_mean, bucket_size, bucket_sum

SERIES = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=30),
    elements=st.floats(-1e3, 1e3) | st.just(float("nan")),
)


@given(SERIES, st.integers(1, 40))
def test_sums_keep_the_total(values, size):
    """Thinning a flow loses and invents none of it, whatever the last bucket holds."""
    thin = bucket_sum(values, size)
    assert thin.shape == (*values.shape[:-1], -(-values.shape[-1] // size))
    np.testing.assert_allclose(thin.sum(axis=-1), np.nansum(values, axis=-1), atol=1e-6)


@given(SERIES, st.integers(1, 40))
def test_means_are_those_of_each_bucket(values, size):
    """Each point is numpy's mean of its own intervals; only missing ones give a missing point."""
    thin = bucket_mean(values, size)
    for k in range(thin.shape[-1]):
        part = values[..., k * size : (k + 1) * size]
        known = np.isfinite(part)
        expected = np.where(known, part, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)
        np.testing.assert_allclose(thin[..., k], expected, atol=1e-9)


@given(st.integers(1, 17_520), st.integers(60, 5000), st.sampled_from([SIZES, DAILY]))
def test_size_is_the_smallest_that_fits(intervals, points, sizes):
    """No more points than asked for, and never coarser than needed."""
    size = bucket_size(intervals, points, sizes)
    assert intervals <= size * points
    assert all(intervals > smaller * points for smaller in sizes if smaller < size)


@pytest.mark.parametrize("size", [1, 2, 48])
def test_a_size_that_cannot_fit_is_the_largest(size):
    """A run longer than the sizes allow is drawn as coarsely as they go."""
    assert bucket_size(10_000, 1, (1, size)) == size
