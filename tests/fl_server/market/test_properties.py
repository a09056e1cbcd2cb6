"""What holds for every mechanism and every book, in exact integers."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.market_rules import MICRO, MILLI_WH_PER_KWH, PPM, MarketRules, to_micro
from fl_server.market import GRID, MECHANISMS, Clearing, Grid, OrderBook, clear
from tests.support.books import books, hundreds, no_grid, permuted, rules, seeds, with_grid

ONE_PRICE = {"uniform", "pay-as-bid", "k-double", "mid-market", "bill-sharing"}
"""Mechanisms in which each seller earns what its buyer pays: nothing is left in the market."""


def _orders(book: OrderBook) -> list[tuple[int, ...]]:
    columns = (book.household, book.side, book.quantity, book.price, book.feeder, book.min_milliwh)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _assert_trades_are_fair(trades: Clearing, rules: MarketRules) -> None:
    """Every row in Python integers: limits, wedge, loss."""
    book = trades.book
    bid, ask, feeder = book.price.tolist(), book.price.tolist(), book.feeder.tolist()
    columns = (
        trades.buy_order,
        trades.sell_order,
        trades.sent,
        trades.delivered,
        trades.buy_price,
        trades.sell_price,
        trades.fee,
        trades.keep_ppm,
    )
    for b, s, sent, delivered, paid, earned, fee, keep in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        assert sent > 0
        assert delivered > 0
        assert abs(sent * keep - delivered * PPM) < PPM, "more than one mWh off the loss"
        if b != GRID:
            assert book.side[b] == 1
            assert paid <= bid[b]
        if s != GRID:
            assert book.side[s] == -1
            assert earned * keep >= ask[s] * PPM
        if GRID in (b, s):
            assert sent == delivered
            assert keep == PPM
            assert b != s
            continue
        assert paid >= earned + fee
        home = keep == rules.keep_ppm
        extra = rules.local_fee_micro + (0 if home else to_micro(rules.feeder_fee))
        assert fee >= rules.local_fee_micro
        wedge = ask[s] * PPM + abs(ask[s]) * rules.margin_ppm
        # A buyer who is paid for what arrives is the cheaper the more is lost on the way.
        barred_at_home = (bid[b] - rules.local_fee_micro) * rules.keep_ppm < wedge
        assert home or feeder[b] != feeder[s] or sent <= 2 or barred_at_home, (
            "only dust crosses to its own feeder, and what its wedge forbids there"
        )
        assert (bid[b] - extra) * keep >= wedge, "wedge"


def _assert_orders_are_kept(trades: Clearing) -> None:
    filled, book = trades.filled, trades.book
    assert (filled <= book.quantity).all()
    assert ((filled == 0) | (filled >= book.min_milliwh)).all()


def _assert_accounts_balance(trades: Clearing, mechanism: str) -> None:
    book = trades.book
    households = int(book.household.max(initial=0)) + 1
    fills = trades.fills(households)
    energy_in = int(fills.bought.sum()) + fills.grid_bought + fills.loss
    assert energy_in == int(fills.sold.sum()) + fills.grid_sold
    assert fills.loss >= 0

    most, least, exact = Counter[int](), Counter[int](), 0
    for b, s, sent, delivered, paid, earned, fee in zip(
        trades.buy_order.tolist(),
        trades.sell_order.tolist(),
        trades.sent.tolist(),
        trades.delivered.tolist(),
        trades.buy_price.tolist(),
        trades.sell_price.tolist(),
        trades.fee.tolist(),
        strict=True,
    ):
        exact += (paid - earned - fee) * delivered
        if b != GRID:
            most[int(book.household[b])] += int(book.price[b]) * delivered
        if s != GRID:
            least[int(book.household[s])] += int(book.price[s]) * sent
    assert all(paid <= most[h] // MILLI_WH_PER_KWH for h, paid in enumerate(fills.paid.tolist()))
    assert all(
        got >= -(-least[h] // MILLI_WH_PER_KWH) for h, got in enumerate(fills.received.tolist())
    )
    traders = len(most.keys() | least.keys())
    assert -traders <= fills.residue - exact // MILLI_WH_PER_KWH <= 4, (
        "rounding is at most a micro each"
    )
    if mechanism in ONE_PRICE and not (trades.buy_order == GRID).any() and fills.grid_sold == 0:
        assert exact == 0
        assert fills.residue <= (1 if trades.local_fee else 0)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@hundreds
@given(book=books(), rules=rules, grid=st.one_of(no_grid, with_grid), seed=seeds)
def test_every_trade_keeps_every_promise(
    mechanism: str, book: OrderBook, rules: MarketRules, grid: Grid, seed: int
) -> None:
    """No fill above an order or below its minimum; delivered is sent less loss to one mWh; no
    buyer pays more than it bid, no seller gets less than it asked; the wedge holds in every pair;
    energy and money balance exactly, with at most a micro per household of rounding; a price
    exists just when something traded; caps hold."""
    trades = clear(mechanism, book, rules, grid, seed)
    _assert_trades_are_fair(trades, rules)
    _assert_orders_are_kept(trades)
    _assert_accounts_balance(trades, mechanism)
    if not grid.joins:
        assert (trades.price is None) == (len(trades) == 0)
    by_peers = trades.buy_price[trades.buy_order != GRID]
    if trades.price is not None and len(by_peers):
        assert by_peers.min() <= trades.price <= by_peers.max()
    if grid.import_cap is not None:
        assert trades.grid_import_milliwh <= grid.import_cap
    if grid.export_cap is not None:
        assert trades.grid_export_milliwh <= grid.export_cap
    if not grid.joins:
        assert trades.grid_import_milliwh == trades.grid_export_milliwh == 0


@pytest.mark.parametrize("mechanism", MECHANISMS)
@hundreds
@given(book=books(), rules=rules, grid=st.one_of(no_grid, with_grid), seed=seeds, data=st.data())
def test_arrival_order_changes_nothing(
    mechanism: str,
    book: OrderBook,
    rules: MarketRules,
    grid: Grid,
    seed: int,
    data: st.DataObject,
) -> None:
    """Clearing a permuted book gives the same trades between the same orders."""
    shuffle = np.random.default_rng(data.draw(st.integers(0, 2**32))).permutation(len(book))
    before, after = (
        clear(mechanism, b, rules, grid, seed) for b in (book, permuted(book, shuffle))
    )

    def named(trades: Clearing) -> Counter[tuple[object, ...]]:
        names = [*_orders(trades.book), "grid"]
        rows = zip(
            (names[i] for i in trades.buy_order.tolist()),
            (names[i] for i in trades.sell_order.tolist()),
            trades.sent.tolist(),
            trades.delivered.tolist(),
            trades.buy_price.tolist(),
            trades.sell_price.tolist(),
            strict=True,
        )
        return Counter(rows)

    assert named(before) == named(after)
    signals = [(c.price, c.marginal_bid, c.marginal_ask) for c in (before, after)]
    assert signals[0] == signals[1]


@pytest.mark.parametrize("mechanism", MECHANISMS)
@hundreds
@given(book=books(), rules=rules, seed=seeds)
def test_orders_for_nothing_set_no_price(
    mechanism: str, book: OrderBook, rules: MarketRules, seed: int
) -> None:
    """Adding orders of zero quantity at any price changes no trade, price or signal."""
    zeros = OrderBook(
        np.arange(4) + 1_000,
        np.array([1, -1, 1, -1], np.int8),
        np.zeros(4, np.int64),
        np.array([0, 0, 100, -100]) * MICRO,
        np.arange(4),
        np.zeros(4, np.int64),
    )
    more = OrderBook(
        *(
            np.concatenate((getattr(book, name), getattr(zeros, name)))
            for name in ("household", "side", "quantity", "price", "feeder", "min_milliwh")
        )
    )
    before, after = (clear(mechanism, b, rules, Grid(), seed) for b in (book, more))
    assert before.price == after.price
    assert (before.marginal_bid, before.marginal_ask) == (after.marginal_bid, after.marginal_ask)
    for name in ("buy_order", "sell_order", "sent", "delivered", "buy_price", "sell_price"):
        assert getattr(before, name).tolist() == getattr(after, name).tolist()


@pytest.mark.parametrize("mechanism", sorted(ONE_PRICE))
@given(seed=st.integers(0, 2**32), households=st.integers(2, 60))
def test_no_micro_is_left_in_the_market(mechanism: str, seed: int, households: int) -> None:
    """With orders of 1 Wh and more and the default margin, what buyers pay is what sellers get, to
    the micro: a seller's margin of 5 % is worth more than the micro that rounding may cost it."""
    rng = np.random.default_rng(seed)
    book = OrderBook(
        np.arange(households),
        rng.choice([1, -1], households).astype(np.int8),
        rng.integers(1_000, 3_000_000, households),
        rng.integers(50_000, 400_000, households),
        np.zeros(households, np.int64),
        np.zeros(households, np.int64),
    )
    fills = clear(mechanism, book, MarketRules(), Grid(), seed).fills(households)
    assert fills.residue == 0
