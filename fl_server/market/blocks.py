"""Block orders: filled at least to their minimum, or not at all.

Clearing with such orders is a combinatorial problem; exchanges solve it by dropping orders, and so
does this: clear, drop the orders that were filled below their minimum, clear again. A dropped
order may stand beyond the price it would have accepted (a paradoxically rejected block).
"""

from collections.abc import Callable

import numpy as np

from common.market_rules import Mask
from fl_server.market.book import Clearing, OrderBook

_PATIENCE = 32


def whole_blocks(book: OrderBook, clear: Callable[[Mask], Clearing]) -> Clearing:
    """Repeat ``clear(active)`` until no order is filled below its minimum.

    Each round drops the worse half of the violators, those served least of their minimum. After
    32 rounds it drops more, doubling each time, with further blocks from the unfilled ones on, so
    the number of rounds is at most 32 + log2(N).
    """
    active = np.ones(len(book), bool)
    result = clear(active)
    if not book.min_milliwh.any():
        return result
    for round_ in range(_PATIENCE + 64):
        filled = result.filled
        bad = np.flatnonzero((filled > 0) & (filled < book.min_milliwh))
        if not len(bad):
            return result
        count = (len(bad) + 1) // 2
        if round_ >= _PATIENCE:
            rest = np.flatnonzero(active & (book.min_milliwh > 0) & (filled >= book.min_milliwh))
            bad, count = np.concatenate((bad, rest)), len(bad) + (1 << (round_ - _PATIENCE))
        served = filled[bad] / book.min_milliwh[bad]
        identity = (
            book.feeder,
            book.price,
            book.min_milliwh,
            book.quantity,
            book.side,
            book.household,
        )
        order = np.lexsort((*(column[bad] for column in identity), served))
        active[bad[order[:count]]] = False
        result = clear(active)
    raise AssertionError("every block was dropped and yet one is below its minimum")
