"""pymarket next to us, where it is installed: ``pip install fedwatt[market]``."""

import importlib.util
from typing import Any

from fl_server.market import OrderBook


def has_pymarket() -> bool:
    """Whether the package can be imported."""
    return importlib.util.find_spec("pymarket") is not None


def clear_with_pymarket(book: OrderBook) -> Any:
    """Clear a book with pymarket's MUDA; it knows neither loss nor margin."""
    import pymarket

    market = pymarket.Market()
    for side, kwh, price, user in zip(
        (book.side > 0).tolist(),
        (book.quantity / 1e6).tolist(),
        (book.price / 1e6).tolist(),
        book.household.tolist(),
        strict=True,
    ):
        market.accept_bid(kwh, price, user, side)
    transactions, _ = market.run("muda")
    return transactions.get_df()
