import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from common.cadence import MINUTES, Cadence
from simulations.report.thin import DAILY_H, SIZES_H, bucket_mean, bucket_size, bucket_sum

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


@given(
    st.integers(1, 17_520),
    st.integers(60, 5000),
    st.sampled_from([SIZES_H, DAILY_H]),
    st.sampled_from(MINUTES),
)
def test_size_is_the_smallest_that_fits(intervals, points, sizes_h, minutes):
    """At every length of interval: no more points than asked for, unless they are weeks, and never
    coarser than needed: one interval, or a whole number of the hours named."""
    cadence = Cadence(minutes)
    size = bucket_size(intervals, points, cadence, sizes_h)
    assert size == 1 or size * minutes / 60 in sizes_h
    assert intervals <= size * points or size == cadence.of_hours(sizes_h[-1])
    smaller = [1, *(h * 60 / minutes for h in sizes_h if h * 60 > minutes)]
    assert all(intervals > one * points for one in smaller if one < size)


@pytest.mark.parametrize("hours", [0.5, 1, 24])
def test_a_size_that_cannot_fit_is_the_largest(hours):
    """A run longer than the sizes allow is drawn as coarsely as they go."""
    assert bucket_size(10_000, 1, Cadence(30), (0.5, hours)) == 2 * hours
