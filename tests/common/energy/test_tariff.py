"""Energy left at the end is valued by the stated convention."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.energy.battery import BatterySpec
from common.energy.tariff import end_value, grid_cost


def test_energy_left_against_the_start() -> None:
    """Start 0.45 x 13.5 = 6.075 kWh, lowest retail 0.21, feed-in 0.05, eta = sqrt(0.9): a missing
    kWh costs 0.21 / eta, an additional one earns 0.05 x eta."""
    end = end_value(BatterySpec(), np.array([0.5, 0.21, 0.3]), 0.05)
    eta = np.sqrt(0.9)
    value = end.value(np.array([5.075, 6.075, 7.075]))
    assert value == pytest.approx([-0.21 / eta, 0.0, 0.05 * eta])


def test_bills() -> None:
    """2 kWh at 0.3 less 1 kWh fed in at 0.05."""
    assert grid_cost(np.array([2.0]), np.array([1.0]), 0.3, 0.05) == pytest.approx(0.55)


@given(
    seed=st.integers(0, 2**16),
    prices=st.tuples(*[st.sampled_from(["one", "each"])] * 3),
)
def test_each_home_has_the_end_value_of_its_own_days_and_prices(
    seed: int, prices: tuple[str, str, str]
) -> None:
    """Whatever of import prices, export prices and days homes share or have of their own, each
    one's end value is what it would be for that home alone."""
    rng = np.random.default_rng(seed)

    def draw(kind: str, low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (6,) if kind == "one" else (3, 6))

    retail, paid = draw(prices[0], -0.1, 0.5), draw(prices[1], -0.1, 0.3)
    days = np.sort(draw(prices[2], 0, 3).astype(np.int64), axis=-1)
    spec = BatterySpec()
    together = end_value(spec, retail, paid, days)
    for h in range(3):
        own = [x if x.ndim == 1 else x[h] for x in (retail, paid, days)]
        alone = end_value(spec, *own)
        for both in (
            (together.shortfall_price, alone.shortfall_price),
            (together.surplus_price, alone.surplus_price),
        ):
            assert np.broadcast_to(both[0], 3)[h] == pytest.approx(both[1], abs=1e-15)
