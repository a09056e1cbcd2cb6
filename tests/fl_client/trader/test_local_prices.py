"""Paths of the local price: past days, moved by what the last hour departed by where that lasts."""

import numpy as np
import pytest

from fl_client.trader import local_prices

DAY = 48


def paths(past: np.ndarray, steps: int, days: int, now: float = 0.0, **other: float) -> np.ndarray:
    """Buy prices (days, steps) fully trusted, at a retail price nobody reaches."""
    trust = other.get("trust", 1.0)
    buy, _ = local_prices.paths(
        past, 0, DAY, np.full(steps, 9.0), np.full(steps, -9.0), 0.05, trust, trust, days, 0.0,
        np.full(2, now), 0.5, 2, 0.5,
    )  # fmt: skip
    return np.asarray(buy)


def lasting(past: np.ndarray, window: int = 336) -> list[float]:
    """Carried share for buying and selling at 0.9 x 0.95^j."""
    return list(local_prices.lasting(past, DAY, 14, 2, 0.5, 0.9, 0.95, window))


def market(days: int, memory: float, seed: int) -> np.ndarray:
    """(days * 48, 2) prices round a daily profile; ``memory`` of a departure stays each step."""
    noise = np.random.default_rng(seed).normal(0, 0.02, (days * DAY, 2))
    for t in range(1, len(noise)):
        noise[t] += memory * noise[t - 1]
    slots = 0.2 + 0.05 * np.sin(np.arange(days * DAY) / DAY * 2 * np.pi)
    return noise + slots[:, None]


def test_local_prices_are_mixed_with_the_grid() -> None:
    """Yesterday's local price 0.1 at full loss of 5 %: buy 0.5 x 0.1 + 0.5 x 0.3 = 0.2, sell
    0.5 x 0.095 + 0.5 x 0.05; where no price was seen the grid's own stand."""
    local = np.full((DAY, 2), 0.1)
    local[1] = np.nan
    buy, sell = local_prices.paths(
        local, 0, DAY, np.array([0.3, 0.3]), np.full(2, 0.05), 0.05, 0.5, 0.5, 1, 0.0,
        np.zeros(2), 0.95, 2, 0.5,
    )  # fmt: skip
    assert buy[0] == pytest.approx([0.2, 0.3])
    assert sell[0] == pytest.approx([0.0725, 0.05])


def test_a_departure_goes_on_and_fades() -> None:
    """Two days at 0.1 and 0.2, today 0.3 in the last two intervals: against yesterday 0.1 more,
    against the day before 0.2 more; half of it is left after each step."""
    past = np.repeat([0.1, 0.2, 0.3], DAY)[: 2 * DAY + 2]
    found = paths(np.stack([past, past], 1), 3, 2, now=1.0)
    assert found[0] == pytest.approx([0.2 + 0.1, 0.2 + 0.05, 0.2 + 0.025])
    assert found[1] == pytest.approx([0.1 + 0.2, 0.1 + 0.1, 0.1 + 0.05])


def test_days_before_the_market_take_the_others_in_turn() -> None:
    """With two days of prices five scenarios are the first, the second, the first again ..."""
    past = np.repeat([0.1, 0.2], DAY)
    found = paths(np.stack([past, past], 1), 1, 5)[:, 0]
    assert found == pytest.approx([0.2, 0.1, 0.2, 0.1, 0.2])


@pytest.mark.parametrize("seed", range(5))
def test_departures_are_carried_only_where_they_last(seed: int) -> None:
    """Prices with a memory are moved, prices that swing back are left alone; so is a market
    younger than a day, of which nothing is known."""
    assert lasting(market(20, 0.9, seed)) == [0.9, 0.9]
    assert lasting(market(20, -0.5, seed)) == [0.0, 0.0]
    assert lasting(market(1, 0.9, seed)[:40]) == [0.0, 0.0]


def test_the_guard_looks_at_the_last_week_alone() -> None:
    """A market whose prices had a memory and lost it a week ago is no longer carried."""
    old, new = market(20, 0.9, 1), market(40, -0.5, 2)
    assert lasting(np.concatenate([old, new])) == [0.0, 0.0]
    assert lasting(np.concatenate([new, old])) == [0.9, 0.9]
