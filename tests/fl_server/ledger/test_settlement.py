"""Settlement: the meter, less what was traded, is the grid's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_server.market import Fills
from fl_server.settlement import settle, surcharge


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


def test_beyond_the_allowance_the_scarcity_price_is_paid_and_shared() -> None:
    """Two of three keep to 1 kWh; the third draws 3, of which 1.5 lie above the cap. It pays
    1.5 x (0.6 - 0.3) more, and each gets a third of it."""
    drawn, allowed = np.array([1, 0, 3]) * 10**6, np.full(3, 10**6)
    found = surcharge(drawn, allowed, 1_500_000, 300_000, 600_000)
    assert found.excess.tolist() == [0, 0, 2_000_000]
    assert found.charged.tolist() == [0, 0, 450_000]
    assert found.returned.tolist() == [150_000] * 3


def test_what_others_leave_may_be_used() -> None:
    """One draws beyond its allowance, and the community stays below its cap: nobody pays."""
    found = surcharge(np.array([0, 2]) * 10**6, np.full(2, 10**6), 0, 300_000, 600_000)
    assert found.excess.tolist() == [0, 1_000_000]
    assert not found.charged.any()


@given(
    rows=st.lists(st.tuples(_ENERGY, _ENERGY), min_size=1, max_size=8),
    above=st.integers(0, 10**10),
    retail=st.integers(0, 10**6),
    scarcity=st.integers(0, 10**7),
)
def test_a_surcharge_stays_in_the_community(
    rows: list[tuple[int, int]], above: int, retail: int, scarcity: int
) -> None:
    """Nobody within its allowance is charged, no more energy than lies above the cap, and what is
    charged comes back but for less than a micro per household."""
    drawn, allowed = (np.array(column) for column in zip(*rows, strict=True))
    found = surcharge(drawn, allowed, above, retail, scarcity)
    assert not found.charged[drawn <= allowed].any()
    assert (found.charged >= 0).all()
    assert found.charged.sum() <= above * max(scarcity - retail, 0) / 1e6 + len(rows)
    assert 0 <= found.charged.sum() - found.returned.sum() < len(rows)
