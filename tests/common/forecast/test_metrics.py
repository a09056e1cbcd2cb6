"""Metrics by hand, baselines by their definition."""

import numpy as np
import pytest

from common.errors import InputError
from common.forecast import baselines, metrics


def test_metrics_by_hand() -> None:
    """Errors +1, -1, +2 on actuals 1, 3, 2 (mean 2): MAE 4/3, RMSE sqrt 2, bias 1/3."""
    forecast, actual = [2.0, 2.0, 4.0, 9.0], [1.0, 3.0, 2.0, np.nan]
    assert metrics.mae(forecast, actual) == pytest.approx(4 / 3)
    assert metrics.rmse(forecast, actual) == pytest.approx(np.sqrt(2))
    assert metrics.nrmse(forecast, actual) == pytest.approx(np.sqrt(2) / 2)
    assert metrics.bias(forecast, actual) == pytest.approx((2 / 3) / 2)
    assert metrics.mase(forecast, actual, 2.0) == pytest.approx(2 / 3)


def test_weekly_naive_scale() -> None:
    """A load that rises by 1 each week changes by 1 against the week before."""
    values = np.repeat(np.arange(4.0), 336)
    assert metrics.weekly_naive_scale(values) == pytest.approx(1.0)
    assert metrics.mase(values[336:] + 1, values[336:], 1.0) == pytest.approx(1.0)


def test_an_empty_home_has_no_relative_error() -> None:
    """Relative figures of a home without load are nan, not infinite and not zero."""
    assert np.isnan(metrics.nrmse([1.0], [0.0]))
    assert np.isnan(metrics.bias([1.0], [0.0]))
    assert np.isnan(metrics.mase([1.0], [0.0], 0.0))


def test_pinball_and_coverage_by_hand() -> None:
    """Level 0.9: actual 3 over forecast 2 costs 0.9, actual 1 under it costs 0.1."""
    assert metrics.pinball([[2.0, 2.0]], [3.0, 1.0], [0.9]) == pytest.approx((0.9 + 0.1) / 2)
    assert metrics.coverage([0, 0, 0, 0], [1, 1, 1, 1], [0.5, 1.0, 2.0, np.nan]) == pytest.approx(
        2 / 3
    )


def test_baselines_read_the_slots_they_name() -> None:
    """With value = row number, each baseline's step j is a known mean of row numbers."""
    rows = np.arange(8 * 48, dtype=float)
    j = np.arange(400)
    origin = len(rows)
    np.testing.assert_array_equal(baselines.last_day(rows, 400), origin - 48 + j % 48)
    np.testing.assert_array_equal(baselines.weekly_naive(rows, 400), origin - 336 + j % 336)
    # mean over k = 1..7 of origin - 48 k + j = origin - 192 + j
    np.testing.assert_allclose(baselines.mean_7_days(rows, 400), origin - 192 + j % 48)


@pytest.mark.parametrize("name", sorted(baselines.BASELINES))
def test_baselines_say_what_history_they_need(name: str) -> None:
    """Too short a past raises InputError."""
    with pytest.raises(InputError, match="history"):
        baselines.BASELINES[name](np.zeros(40), 48)
