"""Scenarios come from known days only and follow what the last hours tell."""

import numpy as np
import pytest

from common.forecast import own_days

DAY = 48


def counted(days: int) -> np.ndarray:
    """(1, days * 48): every reading is its own column number."""
    return np.arange(days * DAY, dtype=np.float64)[None]


@pytest.mark.parametrize("lag", [0, 1])
def test_recent_days_take_the_same_slot_of_known_days(lag: int) -> None:
    """Step j of scenario w is w + 1 days before, or one more where that is not known yet: with a
    lag of 1 the last known column is now - 2, so step 47 must not read column now - 1."""
    past = counted(10)
    now = past.shape[1] + lag
    found = own_days.recent_days(past, lag, DAY, 3, 96)[0]
    for w in range(3):
        assert found[w, 0] == now - (w + 1) * DAY
        assert found[w, 50] == now + 50 - (w + 2) * DAY
        assert found[w, 47] == now + 47 - (w + 1 + lag) * DAY
    assert found.max() < past.shape[1]


def test_missing_days_are_replaced_by_the_others() -> None:
    """nan and days before the data begins: the scenarios that exist serve in turn."""
    past = counted(3)
    past[0, DAY] = np.nan
    found = own_days.recent_days(past, 0, DAY, 4, 1)[0, :, 0]
    assert list(found) == [2 * DAY, 0, 2 * DAY, 0]
    assert np.isnan(own_days.recent_days(past[:, :10], 0, DAY, 4, 1)).all()


def test_the_most_alike_day_speaks_first() -> None:
    """Days alternate between two shapes; after a morning of the second only its days are chosen."""
    kinds = np.tile(np.repeat([[1.0], [3.0]], DAY, axis=1).ravel(), 10)
    past = np.concatenate([kinds, np.full(24, 3.0)])[None]
    assert np.all(own_days.analogous(past, 0, DAY, 5, 20, 12, 0.95) == 3.0)


def persisted(today: float, days_pv: list[float]) -> np.ndarray:
    """PV of step 0 per scenario after a morning of ``today`` against days of ``days_pv``."""
    pv = np.repeat(np.array(days_pv[::-1])[None], DAY, axis=0).T.ravel()
    past_pv = np.concatenate([pv, np.full(20, today)])[None]
    past_load = np.zeros_like(past_pv)
    rows = own_days.recent_days(past_pv, 0, DAY, len(days_pv), 1)
    net = own_days.persist(
        np.zeros_like(rows), rows, past_load, past_pv, 0, DAY, 6, 0.7, 0.0, 1.0, 1.0, 1.0, 0.0
    )
    return -net[0, :, 0]


def test_a_clear_morning_promises_a_clear_noon() -> None:
    """With full persistence every scenario arrives at today's clearness: days of 1 and 3 (mean 2),
    today 2 so far, give 1 + 2 (2-1)/2 = 2 and 3 + 2 (2-3)/2 = 2."""
    assert persisted(2.0, [1.0, 3.0]) == pytest.approx([2.0, 2.0])


def test_pv_stays_within_reason() -> None:
    """No PV below 0, none above 1.25 of the brightest scenario."""
    assert persisted(0.0, [1.0, 3.0]).min() >= 0.0
    assert persisted(50.0, [1.0, 3.0]).max() <= 1.25 * 3.0


def test_the_sun_scales_pv() -> None:
    """Clear sky half again as bright as on the scenario's day: PV half again as much; a ratio of
    10 at sunrise is cut to 2."""
    pv = np.ones((1, 1, 2))
    past_clear = np.full(DAY, 100.0)
    past_clear[1] = 10.0
    own_days.follow_sun(pv, past_clear, np.array([150.0, 100.0]), 0, DAY)
    assert list(pv[0, 0]) == [1.5, 2.0]


def test_quantiles_give_the_spread_and_days_the_order() -> None:
    """Share 1: the smallest day takes the lowest quantile; with W = 2 that is at p = 0.25 and 0.75,
    half way between the levels 0 and 0.5 of 0 and 2 -> 1, and of 2 and 6 -> 4."""
    load = np.array([[[5.0], [1.0]]])
    quantiles = np.array([[[0.0], [2.0], [6.0]]])
    own_days.reshape(load, np.zeros((1, 1)), quantiles, np.array([0.0, 0.5, 1.0]), 1.0, 1)
    assert list(load[0, :, 0]) == [4.0, 1.0]


def test_without_quantiles_the_mean_moves() -> None:
    """Days of 1 and 3 (mean 2), forecast 4, share one half: both move by 1."""
    load = np.array([[[1.0], [3.0]]])
    own_days.reshape(load, np.array([[4.0]]), np.zeros((1, 0, 1)), np.zeros(0), 0.5, 1)
    assert list(load[0, :, 0]) == [2.0, 4.0]


def test_ranks_take_the_quantiles_and_keep_their_order() -> None:
    """Scenarios of 3, 1, 2 take the quantiles 10, 20, 30 by rank; a step with a nan stays."""
    values = np.array([[[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]]])
    quantiles = np.array([[[10.0, np.nan], [20.0, 5.0], [30.0, 6.0]]])
    own_days.take_ranks(values, quantiles)
    assert values[0, :, 0].tolist() == [30.0, 10.0, 20.0]
    assert values[0, :, 1].tolist() == [3.0, 1.0, 2.0]


def test_fewer_scenarios_than_quantiles_lie_between_them() -> None:
    """Two scenarios stand for the levels 1/4 and 3/4: of quantiles at 1/6, 1/2 and 5/6 these lie a
    quarter and three quarters of the way."""
    values = np.array([[[1.0], [2.0]]])
    own_days.take_ranks(values, np.array([[[0.0], [4.0], [8.0]]]))
    assert values[0, :, 0] == pytest.approx([1.0, 7.0])
