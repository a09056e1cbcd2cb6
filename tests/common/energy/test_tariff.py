"""Energy left at the end is valued by the stated convention."""

import numpy as np
import pytest

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
