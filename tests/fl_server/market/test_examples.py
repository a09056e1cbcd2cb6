"""One small book through every mechanism, worked out by hand.

Loss 20 %, margin 25 %: a grossed ask is ask * 1.25 / 0.8. Buyers A 0.40 and B 0.30 want 0.8 kWh
each; sellers C 0.10, D 0.16 and E 0.32 offer 1 kWh each, 0.8 kWh delivered. Grossed asks: C
0.15625, D 0.25, E 0.50. So C and D serve A and B, and E is out.
"""

import numpy as np
import pytest

from common.errors import InputError
from common.market_rules import MICRO, MILLI_WH_PER_KWH, MarketRules
from fl_server.market import GRID, Clearing, Grid, OrderBook, clear

RULES = MarketRules(loss=0.2, min_margin=0.25)
A, B, C, D, E = range(5)


def _book(*orders: tuple[int, float, float], least: dict[int, float] | None = None) -> OrderBook:
    """Orders (side, kWh, price), household i for the i-th; ``least`` kWh by row."""
    side, quantity, price = (np.array(column) for column in zip(*orders, strict=True))
    minimum = np.zeros(len(orders), np.int64)
    for row, kwh in (least or {}).items():
        minimum[row] = round(kwh * MILLI_WH_PER_KWH)
    return OrderBook(
        np.arange(len(orders)),
        side.astype(np.int8),
        np.rint(quantity * MILLI_WH_PER_KWH).astype(np.int64),
        np.rint(price * MICRO).astype(np.int64),
        np.zeros(len(orders), np.int64),
        minimum,
    )


BOOK = _book((1, 0.8, 0.40), (1, 0.8, 0.30), (-1, 1, 0.10), (-1, 1, 0.16), (-1, 1, 0.32))


def _kwh(trades: Clearing) -> list[float]:
    return (trades.filled / MILLI_WH_PER_KWH).tolist()


def test_uniform_meets_in_the_middle_of_the_clearing_range() -> None:
    """1.6 kWh trade. The price lies between the last ask served, 0.25, and the last bid, 0.30:
    0.275. Sellers get 0.275 * 0.8 = 0.22 per sent kWh."""
    trades = clear("uniform", BOOK, RULES)
    assert _kwh(trades) == [0.8, 0.8, 1.0, 1.0, 0.0]
    assert trades.price == 275_000
    fills = trades.fills(5)
    assert fills.paid.tolist() == [220_000, 220_000, 0, 0, 0]
    assert fills.received.tolist() == [0, 0, 220_000, 220_000, 0]
    assert fills.loss == 400_000


def test_pairwise_prices_pair_the_best_with_the_best() -> None:
    """A (0.40) meets C (0.15625), B (0.30) meets D (0.25). Pay-as-bid: 0.40 and 0.30. At k = 1/2:
    0.278125 and 0.275."""
    at_bid, halfway = (clear(m, BOOK, RULES) for m in ("pay-as-bid", "k-double"))
    assert at_bid.buy_price.tolist() == [400_000, 300_000]
    assert halfway.buy_price.tolist() == [278_125, 275_000]
    assert at_bid.sell_order.tolist() == [C, D]
    assert at_bid.price == 350_000


def test_mid_market_shares_the_longer_side() -> None:
    """(0.30 + 0.26) / 2 = 0.28 lets in A, B, C and D. With B wanting 2.4 kWh, 1.6 delivered kWh
    are shared 0.8 : 2.4, so A gets 0.4 and B 1.2."""
    book = _book((1, 0.8, 0.40), (1, 2.4, 0.30), (-1, 1, 0.10), (-1, 1, 0.16), (-1, 1, 0.32))
    trades = clear("mid-market", book, RULES, Grid(retail=300_000, feed_in=260_000))
    assert trades.price == 280_000
    assert _kwh(trades) == [0.4, 1.2, 1.0, 1.0, 0.0]


def test_bill_sharing_price_agrees_with_its_ratio() -> None:
    """Retail 0.30, feed-in 0.08 (0.10 delivered). Only C is willing below 0.25: supply 0.8, demand
    1.6, ratio 1/2; price 0.1 * 0.3 / (0.2 / 2 + 0.1) = 0.15, but C wants 0.15625. At 0.15625 the
    ratio price is 0.15 <= 0.15625, below it supply is 0 and the price would be 0.30: so 0.15625,
    and A and B share C's 0.8 kWh."""
    trades = clear("bill-sharing", BOOK, RULES, Grid(retail=300_000, feed_in=80_000))
    assert trades.price == 156_250
    assert _kwh(trades) == [0.4, 0.4, 1.0, 0.0, 0.0]


def test_mcafee_drops_the_marginal_trade() -> None:
    """B and D are marginal. Both are whole, but no third bid exists, so they are dropped: A pays
    B's 0.30, C gets D's ask of 0.16 per sent kWh, the market keeps 0.24 - 0.16 = 0.08."""
    trades = clear("mcafee", BOOK, RULES)
    assert _kwh(trades) == [0.8, 0.0, 1.0, 0.0, 0.0]
    fills = trades.fills(5)
    assert fills.paid.tolist() == [240_000, 0, 0, 0, 0]
    assert fills.received.tolist() == [0, 0, 160_000, 0, 0]
    assert fills.residue == 80_000


def test_mcafee_keeps_everyone_when_the_next_orders_allow() -> None:
    """A bid of 0.10 is next to E's 0.50: their middle, 0.30, suits B (0.30) and D (0.25), so all
    four trade at 0.30; sellers earn that less the margin: 0.30 * 0.8 / 1.25 = 0.192 per sent."""
    book = _book(
        (1, 0.8, 0.40), (1, 0.8, 0.30), (-1, 1, 0.10), (-1, 1, 0.16), (-1, 1, 0.32), (1, 0.8, 0.10)
    )
    trades = clear("mcafee", book, RULES)
    assert _kwh(trades) == [0.8, 0.8, 1.0, 1.0, 0.0, 0.0]
    assert trades.fills(6).received.tolist()[2:4] == [192_000, 192_000]


def test_muda_trades_each_half_at_the_price_of_the_other() -> None:
    """Whatever the draw: with all buyers at 0.40 and all sellers at 0.16, the price of a half with
    both is (0.25 + 0.40) / 2 = 0.325; a half without both sides gives none."""
    book = _book(*[(1, 0.8, 0.40)] * 20, *[(-1, 1, 0.16)] * 20)
    prices = {tuple(np.unique(clear("muda", book, RULES, seed=s).buy_price)) for s in range(20)}
    # The longer side sets a half's price: at its own limit.
    assert prices <= {(250_000,), (325_000,), (400_000,), (250_000, 400_000), (250_000, 325_000)}
    assert len(prices) > 1


def test_hierarchical_trades_across_feeders_what_feeders_leave() -> None:
    """A (0.6 kWh) and D on feeder 0, B and C on 1: A buys from D, B from C. With D on feeder 1 and
    nobody to sell on 0, A buys across: keep is 0.8 * 0.75 = 0.6, so 1 kWh sent is 0.6 delivered;
    the grossed ask of D is 0.16 * 1.25 / 0.6 + 0.02 = 0.353334, the price the middle of that and
    0.40, and 0.02 of it is the fee."""
    rules = MarketRules(loss=0.2, min_margin=0.25, feeder_loss=0.25, feeder_fee=0.02)
    book = _book((1, 0.6, 0.40), (1, 0.8, 0.30), (-1, 1, 0.10), (-1, 1, 0.16))
    book.feeder[:] = [0, 1, 1, 0]
    assert _kwh(clear("hierarchical", book, rules)) == [0.6, 0.8, 1.0, 0.75]
    book.feeder[:] = [0, 1, 1, 1]
    trades = clear("hierarchical", book, rules)
    assert _kwh(trades) == [0.6, 0.8, 1.0, 1.0]
    across = trades.buy_order == A
    assert trades.buy_price[across].tolist() == [376_667]
    assert trades.sell_price[across].tolist() == [356_667]
    assert trades.fills(4).fees == 12_000


@pytest.mark.parametrize("mechanism", ["uniform", "pay-as-bid", "mid-market"])
def test_a_block_is_filled_whole_or_not_at_all(mechanism: str) -> None:
    """A and B want 1.2 kWh each, sellers deliver 1.6. B takes 1.2 or nothing and would get 0.4 (or
    0.8): it is dropped, A takes its 1.2 alone."""
    book = _book(
        (1, 1.2, 0.40), (1, 1.2, 0.39), (-1, 1, 0.10), (-1, 1, 0.10), least={0: 0.1, 1: 1.2}
    )
    trades = clear(mechanism, book, RULES, Grid(retail=400_000, feed_in=100_000))
    assert _kwh(trades)[:2] == [1.2, 0.0]


def test_price_rises_instead_of_the_peak() -> None:
    """No seller; A bids 0.90 and B 0.50 for 1 kWh each. Without a cap both are served at retail,
    0.30. With 1 kWh of room B is out, and A pays between 0.50 and 0.90: 0.70. The grid gets its
    0.30, the rent of 0.40 stays in the market's account."""
    book = _book((1, 1, 0.90), (1, 1, 0.50))
    free = clear("uniform", book, RULES, Grid(counterparty=True))
    assert free.price == 300_000
    assert free.grid_import_milliwh == 2_000_000
    tight = clear("uniform", book, RULES, Grid(import_cap=1_000_000))
    assert tight.price == 700_000
    assert _kwh(tight) == [1.0, 0.0]
    fills = tight.fills(2)
    assert (fills.grid_received, fills.residue) == (300_000, 400_000)


def test_peers_come_before_the_grid() -> None:
    """A and B take the peers' 1.6 kWh; the grid, at 0.26, is dearer than D (0.25) and not needed,
    but it bounds the price: the middle of 0.25 and 0.26."""
    trades = clear("uniform", BOOK, RULES, Grid(retail=260_000, feed_in=0, counterparty=True))
    assert trades.price == 255_000
    assert trades.grid_import_milliwh == 0


def test_surplus_behind_a_cap_earns_less_than_feed_in() -> None:
    """Two sellers, 0.02 and 0.04, 1 kWh each, feed-in 0.05. With room for both they earn feed-in;
    with 1 kWh of room the cheaper one sells, for less than 0.05 and no less than 0.02."""
    book = _book((-1, 1, 0.02), (-1, 1, 0.04))
    free = clear("uniform", book, RULES, Grid(counterparty=True)).fills(2)
    assert free.received.tolist() == [50_000, 50_000]
    tight = clear("uniform", book, RULES, Grid(export_cap=1_000_000))
    fills = tight.fills(2)
    assert tight.grid_export_milliwh <= 1_000_000
    assert fills.sold[0] >= 999_998
    assert fills.sold[1] == 0
    assert 20_000 <= fills.received[0] < 50_000
    assert fills.residue == fills.grid_paid - fills.received[0]


@pytest.mark.parametrize("mechanism", ["pay-as-bid", "mid-market", "mcafee", "hierarchical"])
def test_the_grid_is_the_last_resort_of_every_mechanism(mechanism: str) -> None:
    """A bids 0.40 and finds no peer: the grid sells at 0.30. A bid of 0.20 stays unserved."""
    trades = clear(mechanism, _book((1, 1, 0.40), (1, 1, 0.20)), RULES, Grid(counterparty=True))
    assert trades.sell_order.tolist() == [GRID]
    assert trades.fills(2).paid.tolist() == [300_000, 0]


def test_without_trade_the_best_orders_are_the_signal() -> None:
    """Bids 0.10 and 0.12, asks 0.16 and 0.32 (grossed 0.25 and 0.50): nothing trades, the signal is
    0.12 and 0.25. An empty book tells the grid's prices: 0.30, and 0.05 / 0.8."""
    trades = clear(
        "uniform", _book((1, 1, 0.10), (1, 1, 0.12), (-1, 1, 0.16), (-1, 1, 0.32)), RULES
    )
    assert trades.price is None
    assert (trades.marginal_bid, trades.marginal_ask) == (120_000, 250_000)
    empty = clear("uniform", OrderBook.empty(), RULES)
    assert empty.signal(Grid(), RULES.keep_ppm) == (300_000, 62_500)


def test_an_unknown_mechanism_is_named() -> None:
    """The error lists what is known."""
    with pytest.raises(InputError, match=r"market\.mechanism = 'dutch': expected uniform"):
        clear("dutch", BOOK, RULES)
