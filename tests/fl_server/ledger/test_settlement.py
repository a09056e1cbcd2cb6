"""Settlement: the meter, less what was traded, is the grid's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_server.market import Fills
from fl_server.settlement import settle


def _fills(bought: list[int], sold: list[int]) -> Fills:
    zero = np.zeros(len(bought), np.int64)
    return Fills(np.array(bought), np.array(sold), zero, zero)


def test_shortfall_is_bought_at_retail() -> None:
    """Sold 2 kWh, the meter saw 1.5 out: 0.5 kWh is bought at 0.30. Bought 2 kWh, used 1.2: 0.8
    kWh flows back at 0.05. No trade, meter 1 kWh in: all of it from the grid."""
    settled = settle(
        np.array([0, 1_200_000, 1_000_000]),
        np.array([1_500_000, 0, 0]),
        _fills([0, 2_000_000, 0], [2_000_000, 0, 0]),
        300_000,
        50_000,
    )
    assert settled.grid_import.tolist() == [500_000, 0, 1_000_000]
    assert settled.grid_export.tolist() == [0, 800_000, 0]
    assert settled.cost.tolist() == [150_000, 0, 300_000]
    assert settled.revenue.tolist() == [0, 40_000, 0]


_ENERGY = st.integers(0, 10**9)


@given(rows=st.lists(st.tuples(_ENERGY, _ENERGY, _ENERGY, _ENERGY), min_size=1, max_size=8))
def test_energy_is_kept_exactly(rows: list[tuple[int, int, int, int]]) -> None:
    """Meter net = bought - sold + from grid - to grid, and never both directions at once."""
    taken, given_, bought, sold = (np.array(column) for column in zip(*rows, strict=True))
    settled = settle(taken, given_, _fills(bought.tolist(), sold.tolist()), 300_000, 50_000)
    net = bought - sold + settled.grid_import - settled.grid_export
    assert (net == taken - given_).all()
    assert not (settled.grid_import * (settled.grid_export > 0)).any()
