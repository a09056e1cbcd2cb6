"""Order books for the properties: small ones drawn order by order, larger ones from a seed.

Ties, zeros, negative prices and the largest numbers are common in both; no household's own orders
cross.
"""

from dataclasses import replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from common.market_rules import MAX_PRICE_MICRO, MAX_QUANTITY_MILLIWH, MarketRules
from fl_server.market import Grid, OrderBook

hundreds = settings(max_examples=max(200, settings().max_examples))
"""200 books per property, or what a profile asks beyond that."""

RETAIL, FEED_IN = 300_000, 50_000

rules = st.builds(
    MarketRules,
    loss=st.sampled_from([0.05, 0.05, 0.0, 1 / 3, 0.9]),
    min_margin=st.sampled_from([0.05, 0.05, 0.0, 0.9]),
    k=st.sampled_from([0.5, 0.5, 0.0, 1.0]),
    feeder_loss=st.sampled_from([0.02, 0.0, 0.5]),
    feeder_fee=st.sampled_from([0.01, 0.0, 0.2]),
    local_fee=st.sampled_from([0.0, 0.0, 0.000001, 0.07]),
)
no_grid = st.builds(
    Grid,
    retail=st.sampled_from([RETAIL, RETAIL, -1]),
    feed_in=st.sampled_from([FEED_IN, FEED_IN, -FEED_IN, 2 * RETAIL]),
)
_cap = st.sampled_from([None, 0, 1, 20, 3_000_000, 50_000_000])
with_grid = st.builds(
    Grid,
    retail=st.sampled_from([RETAIL, FEED_IN, 0, -FEED_IN, MAX_PRICE_MICRO]),
    feed_in=st.sampled_from([FEED_IN, 0, -FEED_IN, RETAIL, -RETAIL]),
    counterparty=st.just(True),
    import_cap=_cap,
    export_cap=_cap,
)
seeds = st.integers(0, 2**63 - 1)

_PRICES = np.array(
    [0, 1, -1, FEED_IN, -FEED_IN, 99_999, 100_000, 100_001, 110_527, -110_527, 175_000, 290_000,
     RETAIL, -RETAIL, MAX_PRICE_MICRO, -MAX_PRICE_MICRO]
)  # fmt: skip
_QUANTITIES = np.array(
    [0, 1, 2, 19, 20, 21, 777, 475_000, 500_000, 1_000_000, 2_718_281, MAX_QUANTITY_MILLIWH]
)


def _book(rows: np.ndarray) -> OrderBook:
    household, side, quantity, price, feeder, least = rows.reshape(-1, 6).astype(np.int64).T
    return OrderBook(household, side.astype(np.int8), quantity, price, feeder, least)


def _small(blocks: bool) -> st.SearchStrategy[OrderBook]:
    """Up to 12 orders, three bytes each: quick to draw, and a failure shrinks to few orders."""

    def decode(code: bytes) -> OrderBook:
        who, what, least = np.frombuffer(code[: len(code) // 3 * 3], np.uint8).reshape(-1, 3).T
        quantity = _QUANTITIES[what % len(_QUANTITIES)]
        rows = (
            who % 6,
            np.where(who & 128, -1, 1),
            quantity,
            _PRICES[(what // len(_QUANTITIES) + least // 8) % len(_PRICES)],
            who // 6 % 3,
            quantity * np.minimum(least % 8, 4) // 4 if blocks else 0 * quantity,
        )
        return _book(np.column_stack(rows))

    return st.binary(max_size=36).map(decode)


@st.composite
def _large(draw: st.DrawFn, blocks: bool) -> OrderBook:
    n, seed = draw(st.integers(0, 200)), draw(st.integers(0, 2**32))
    ties, extremes = draw(st.booleans()), draw(st.booleans())
    low = draw(st.sampled_from([0, -400_000]))
    rng = np.random.default_rng(seed)
    quantity = rng.choice([1, 100_000, 500_000], n) if ties else rng.integers(0, 3_000_000, n)
    price = rng.choice([100_000, 200_000], n) if ties else rng.integers(low, 400_000, n)
    if extremes and n:
        wild = rng.random(n) < 0.2
        quantity = np.where(wild, rng.choice([0, 1, MAX_QUANTITY_MILLIWH], n), quantity)
        price = np.where(wild, rng.choice([0, 1, MAX_PRICE_MICRO, -MAX_PRICE_MICRO], n), price)
    household = rng.integers(0, max(1, n // 3), n) if rng.random() < 0.5 else np.arange(n)
    least = quantity * rng.choice([0, 0, 1, 4], n) // 4 if blocks else np.zeros(n)
    side, feeder = rng.choice([1, -1], n), rng.integers(0, 5, n)
    return _book(np.column_stack((household, side, quantity, price, feeder, least)))


def books(*, blocks: bool = True, one_each: bool = False) -> st.SearchStrategy[OrderBook]:
    """Books of 0 to 200 orders. ``one_each``: every order belongs to a household of its own."""
    drawn = st.one_of(_small(blocks), _large(blocks))
    if one_each:
        return drawn.map(lambda book: replace(book, household=np.arange(len(book))))
    return drawn.map(_one_sided)


def _one_sided(book: OrderBook) -> OrderBook:
    """Give each side its own households, as admission would refuse those that cross."""
    return replace(book, household=2 * book.household + (book.side < 0))


def permuted(book: OrderBook, order: np.ndarray) -> OrderBook:
    """The same book with its rows in another order."""
    return OrderBook(
        book.household[order],
        book.side[order],
        book.quantity[order],
        book.price[order],
        book.feeder[order],
        book.min_milliwh[order],
    )
