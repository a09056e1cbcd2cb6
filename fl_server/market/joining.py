"""Several clearings of one book, as one."""

from collections.abc import Sequence

import numpy as np

from fl_server.market.book import Clearing, OrderBook
from fl_server.market.matching import mean_price

_ROWS = (
    "buy_order",
    "sell_order",
    "sent",
    "delivered",
    "buy_price",
    "sell_price",
    "fee",
    "keep_ppm",
)


def join(book: OrderBook, parts: Sequence[Clearing]) -> Clearing:
    """One clearing with the trades of all parts.

    The price is the mean of what buyers pay over volume; the signal is the mean of what sellers
    earn and of what buyers pay.
    """
    rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS}
    price = mean_price(rows["buy_price"], rows["delivered"])
    earned = mean_price(rows["sell_price"], rows["delivered"])
    return Clearing(book=book, **rows, price=price, marginal_bid=earned, marginal_ask=price)
