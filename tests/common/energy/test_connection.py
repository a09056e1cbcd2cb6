"""The grid takes the residual, the net balance holds, and no limit is passed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.energy.connection import ConnectionSpec, flows, room
from common.errors import InputError

KWH = st.floats(0, 12)


@given(KWH, KWH, st.floats(-5, 5), KWH, st.booleans(), st.floats(0, 12), st.floats(0, 12))
def test_balance_and_limits(
    load: float, pv: float, battery: float, trade: float, buys: bool, most: float, least: float
) -> None:
    """For any flows within the connection's room: the net balance of the interval closes to 1e-9,
    import with purchases and export with sales stay within limits, and only PV is curtailed."""
    connection = ConnectionSpec(most, least)
    bought, sold = np.array([min(trade, most)]), np.array([min(trade, least)])
    bought, sold = (bought, 0 * sold) if buys else (0 * bought, sold)
    low, high = room(np.array([load - pv]), bought, sold, connection)
    action = np.clip(np.array([battery]), low, high)
    charge, discharge = np.maximum(action, 0), np.maximum(-action, 0)
    f = flows(np.array([load]), np.array([pv]), charge, discharge, bought, sold, connection)
    residual = (load - f.unserved + charge + sold) - (
        pv - f.curtailed + discharge + bought + f.grid_import - f.grid_export
    )
    assert abs(residual[0]) < 1e-9
    assert f.grid_import + bought <= most + 1e-9
    assert f.grid_export + sold <= least + 1e-9
    assert all(np.all(value >= 0) for value in f)
    assert f.grid_import * f.grid_export == 0
    if battery >= high:  # the battery was as helpful as the connection asked
        assert f.unserved == pytest.approx(0, abs=1e-9)


def test_surplus_beyond_the_export_limit_is_curtailed() -> None:
    """6 kWh of surplus through a 4 kWh connection of which 1 is sold: 3 fed in, 2 curtailed."""
    zero = np.zeros(1)
    f = flows(zero, np.array([6.0]), zero, zero, zero, np.array([1.0]), ConnectionSpec())
    assert (f.grid_export, f.curtailed) == (3.0, 2.0)


def test_load_beyond_the_import_limit_is_counted_as_unserved() -> None:
    """12 kWh of load through 10 kWh of connection: 2 are missing and said to be."""
    zero = np.zeros(1)
    f = flows(np.array([12.0]), zero, zero, zero, zero, zero, ConnectionSpec())
    assert (f.grid_import, f.unserved) == (10.0, 2.0)


def test_the_meter_sees_the_net_flow() -> None:
    """A seller that buys its shortfall: 3 sold, 2 from the grid, the meter shows 1 out."""
    zero = np.zeros(1)
    f = flows(np.array([2.0]), zero, zero, np.array([3.0]), zero, np.array([3.0]), ConnectionSpec())
    imported, exported = f.meter(zero, np.array([3.0]))
    assert (f.grid_import, imported, exported) == (2.0, 0.0, 1.0)


def test_a_negative_limit_is_refused() -> None:
    """The mistake is named at construction."""
    with pytest.raises(InputError, match="export_kwh"):
        ConnectionSpec(export_kwh=-1.0)
