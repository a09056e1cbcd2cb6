"""Settlement: the meter, less what was traded, is the grid's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market_rules import PPM, MarketRules
from fl_server.market import MECHANISMS, Fills, Grid, OrderBook, clear
from fl_server.settlement import Settlement, settle, surcharge


def _fills(bought: list[int], sold: list[int]) -> Fills:
    """At 0.2 per kWh."""
    energy = np.array(bought), np.array(sold)
    return Fills(*energy, *(kwh // 5 for kwh in energy))


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


_PRICE = st.integers(-(10**8), 10**8) | st.sampled_from([300_000, 50_000, 0, -20_000, 1_000_000])
_HOME = st.tuples(*[_ENERGY] * 4, _PRICE, _PRICE, _PRICE, _PRICE)


@given(rows=st.lists(_HOME, min_size=1, max_size=8), keep=st.sampled_from([PPM, 950_000]))
def test_energy_is_kept_exactly(rows: list[tuple[int, ...]], keep: int) -> None:
    """Import - export = bought - sold + from grid - to grid, whatever the meter and the fills say
    and whatever the prices; who gets more for export than it pays for import has one direction."""
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    taken, given_, bought, sold, paid, got, imported, exported = columns
    fills = Fills(bought, sold, paid, got)
    settled = settle(taken, given_, fills, imported, exported, keep)
    net = bought - sold + settled.grid_import - settled.grid_export
    assert (net == taken - given_).all()
    assert (settled.shortfall <= sold).all()
    assert (settled.unused <= bought).all()
    turning = settled.grid_import - settled.shortfall, settled.grid_export - settled.unused
    assert not (np.minimum(*turning) * (exported > imported)).any()


@given(rows=st.lists(st.tuples(_ENERGY, st.booleans(), _ENERGY, st.booleans()), max_size=8))
def test_one_tariff_is_settled_by_the_net(rows: list[tuple[int, bool, int, bool]]) -> None:
    """One positive tariff, feed-in below retail, netted meters, trade in one direction between the
    two prices: all of meter less trade is the grid's, at retail or feed-in, rounded once."""
    retail, feed_in = 300_007, 50_003
    energy, into, traded, buys = (
        np.array([row[k] for row in rows], np.int64 if k % 2 == 0 else bool) for k in range(4)
    )
    bought, sold = np.where(buys, traded, 0), np.where(buys, 0, traded)
    fills = Fills(bought, sold, bought * 200_000 // 10**6, sold * 200_000 // 10**6)
    meter = np.where(into, energy, 0), np.where(into, 0, energy)
    if not rows:
        return
    settled = settle(*meter, fills, retail, feed_in, 950_000)
    rest = meter[0] - meter[1] - bought + sold
    assert settled.grid_import.tolist() == np.maximum(rest, 0).tolist()
    assert settled.grid_export.tolist() == np.maximum(-rest, 0).tolist()
    owed = (np.maximum(rest, 0) * retail + 500_000) // 10**6
    assert settled.cost.tolist() == owed.tolist()
    assert (
        settled.revenue.tolist() == ((np.maximum(-rest, 0) * feed_in + 500_000) // 10**6).tolist()
    )


def _money(settled: Settlement, fills: Fills) -> int:
    """What the members receive together [micro]."""
    grid = settled.revenue.sum() - settled.cost.sum()
    return int(grid + fills.received.sum() - fills.paid.sum())


@pytest.mark.parametrize("moves", ["nobody", "the buyer", "the seller"])
@given(data=st.data())
def test_fills_without_delivery_never_earn(moves: str, data: st.DataObject) -> None:
    """Members with any tariffs trade by any mechanism at any prices, and then neither the sellers
    send nor the buyers use what they traded, or only one side does. Together they have no more
    money than with the same meters and no fills, but for the micro that each rounds."""
    seed = data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    count, wild = data.draw(st.integers(2, 8)), data.draw(st.booleans())
    low, high = (-1_000_000, 1_000_000) if wild else (-50_000, 400_000)
    imported, exported = rng.integers(low, high, (2, count))
    if data.draw(st.booleans()):
        imported[:], exported[:] = imported[0], exported[0]
    book = OrderBook(
        np.arange(count),
        rng.choice([1, -1], count).astype(np.int8),
        rng.integers(0, 3_000_000, count),
        rng.integers(2 * low, 2 * high, count),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
    )
    rules = MarketRules(
        loss=data.draw(st.sampled_from([0.05, 0.0, 0.5])),
        min_margin=data.draw(st.sampled_from([0.05, 0.0])),
        local_fee=data.draw(st.sampled_from([0.0, 0.08])),
    )
    mechanism = data.draw(st.sampled_from(sorted(MECHANISMS)))
    terms = Grid(int(imported.max()), int(exported.min()))
    fills = clear(mechanism, book, rules, terms, seed % 1000).fills(count)
    taken, given_ = np.zeros(count, np.int64), np.zeros(count, np.int64)
    if moves == "the buyer":
        taken = fills.bought
    if moves == "the seller":
        given_ = fills.sold
    prices = imported, exported, rules.keep_ppm
    with_fills = _money(settle(taken, given_, fills, *prices), fills)
    none = Fills.none(count)
    without = _money(settle(taken, given_, none, *prices), none)
    assert with_fills <= without + 4 * count


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
