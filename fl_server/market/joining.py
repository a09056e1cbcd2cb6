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
    fee = max(part.local_fee for part in parts)
    bid = None if earned is None else earned + fee
    return Clearing(
        book=book, **rows, price=price, marginal_bid=bid, marginal_ask=price, local_fee=fee
    )
