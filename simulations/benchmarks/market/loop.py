"""The uniform auction as a plain Python loop over lists: the yardstick of speed.

Floats, ties by position, no accounts: what one would write first.
"""

from fl_server.market import OrderBook


def rows_of(book: OrderBook) -> list[tuple[int, int, float, float]]:
    """(order, side, kWh, price) of a book, as a loop would get them."""
    columns = (book.side.tolist(), (book.quantity / 1e6).tolist(), (book.price / 1e6).tolist())
    return [(i, *row) for i, row in enumerate(zip(*columns, strict=True))]


def clear_by_loop(
    rows: list[tuple[int, int, float, float]], loss: float, margin: float
) -> tuple[float | None, list[tuple[int, int, float]]]:
    """Price and trades (buy order, sell order, delivered kWh)."""
    wedge = (1 + margin) / (1 - loss)
    bids = sorted(((p, i, q) for i, side, q, p in rows if side > 0), key=lambda o: -o[0])
    asks = sorted((p * wedge, i, q * (1 - loss)) for i, side, q, p in rows if side < 0)
    trades, price = [], None
    b = s = 0
    wanted = bids[0][2] if bids else 0.0
    offered = asks[0][2] if asks else 0.0
    while b < len(bids) and s < len(asks) and bids[b][0] >= asks[s][0]:
        energy = min(wanted, offered)
        trades.append((bids[b][1], asks[s][1], energy))
        price = (bids[b][0] + asks[s][0]) / 2
        wanted -= energy
        offered -= energy
        if wanted <= 0:
            b += 1
            wanted = bids[b][2] if b < len(bids) else 0.0
        if offered <= 0:
            s += 1
            offered = asks[s][2] if s < len(asks) else 0.0
    return price, trades
