"""Ageing counts cycles and follows the published curve."""

import numpy as np
import pytest

from common.energy.ageing import CELL_AH, age, health
from common.energy.battery import BatterySpec, step


def test_published_curve() -> None:
    """Wang et al. (2011) at 25 degC and C/2: the loss in per cent is
    31630 exp(-(31700 - 370.3 / 2) / (8.314 * 298.15)) Ah^0.55 = 0.0952 Ah^0.55;
    at 1000 Ah that is 0.0952 * 44.67 = 4.25 %."""
    lost = 1 - health(np.array([1000 / CELL_AH]))
    assert lost == pytest.approx(0.0425, rel=2e-3)


def test_heat_ages_and_health_falls() -> None:
    """More cycles and more heat never give more health; a new battery is whole."""
    cycles = np.linspace(0, 5000, 50)
    assert health(cycles)[0] == 1
    assert np.all(np.diff(health(cycles)) < 0)
    assert np.all(health(cycles[1:], 40.0) < health(cycles[1:], 25.0))


def test_one_full_swing_up_and_down_is_one_cycle() -> None:
    """Moving the nominal capacity in and out once counts one equivalent full cycle."""
    spec = BatterySpec(power_kw=100.0, soc_min=0.0, soc_max=1.0, soc_initial=0.0)
    soc, soh, cycles = np.zeros(1), np.ones(1), np.zeros(1)
    for request in (100.0, -100.0):
        moved = step(spec, soc, np.array([request]))
        soh, cycles = age(spec, soh, cycles, soc, moved)
        soc = moved.soc
    assert cycles == pytest.approx(1)
    assert soh == health(cycles)


def test_no_battery_does_not_age() -> None:
    """Capacity 0: no cycles, no division by zero."""
    spec = BatterySpec(capacity_kwh=0.0)
    moved = step(spec, np.array([0.45]), np.array([1.0]))
    soh, cycles = age(spec, np.ones(1), np.zeros(1), np.array([0.45]), moved)
    assert (soh, cycles) == (1, 0)
