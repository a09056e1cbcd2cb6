"""What households have been told of prices: their tariffs, published ahead, and local ones."""

from collections.abc import Sequence

import numpy as np

from common.arrays import Floats, Ints
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from common.messages import IntervalRequest
from fl_client.trader.base import PublishedTerms


class PublicPrices:
    """Prices by interval of H households; nan where none is known.

    retail, feed_in (H, T + P): what the grid takes and pays per kWh, up to P intervals ahead.
    signals (T, 2): marginal local [buy, sell] price per kWh delivered of intervals that are over.
    terms: what all members heard of the newest interval, None before the first.
    Under a community cap, ``share_kwh`` is an equal part of it per interval (None: no cap), and
    ``scarcity_price`` what a kWh beyond an allowance costs.
    """

    def __init__(self, households: int, intervals: int, published: int) -> None:
        self.retail = np.full((households, intervals + published), np.nan)
        self.feed_in = np.full_like(self.retail, np.nan)
        self.signals = np.full((intervals, 2), np.nan)
        self.terms: PublishedTerms | None = None
        self.share_kwh: float | None = None
        self.scarcity_price = 0.0

    def learn(self, requests: Sequence[IntervalRequest]) -> None:
        """Take over what the requests of one interval tell, one of each household."""
        one = requests[0]
        self.terms = None if one.terms is None else PublishedTerms(*one.terms)
        self.share_kwh = None if one.share < 0 else one.share / MILLI_WH_PER_KWH
        self.scarcity_price = one.scarcity / MICRO
        for h, request in enumerate(requests):
            # Who was away hears of what it missed; so may others, and it is the same.
            first, count = request.signals_from, len(request.past_retail)
            self._put(h, first, request.past_retail, request.past_feed_in)
            self._put(h, request.t, request.retail, request.feed_in)
            end = min(first + min(count, len(request.signals)), len(self.signals))
            if first < end:
                self.signals[first:end] = request.signals[: end - first]

    def recall(self, first: int, retail: Floats, feed_in: Floats, signals: Floats) -> None:
        """Take over what was once known: ``retail``, ``feed_in`` (H, N), ``signals`` (M, 2) from
        ``first`` on.
        """
        self.retail[:, first : first + retail.shape[1]] = retail
        self.feed_in[:, first : first + feed_in.shape[1]] = feed_in
        self.signals[first : first + len(signals)] = signals

    def ahead(self, t: int, which: Ints | slice) -> tuple[Floats, Floats]:
        """Import and export prices (H', N) published for ``t`` on, up to the first gap of any."""
        published = self.retail[which, t:]
        known = np.isfinite(published).all(axis=0)
        count = len(known) if known.all() else int(np.argmin(known))
        return published[:, :count], self.feed_in[which, t : t + count]

    def _put(self, h: int, first: int, retail: Floats, feed_in: float | Floats) -> None:
        count = min(len(retail), self.retail.shape[1] - first)
        if count > 0:
            paid = np.broadcast_to(feed_in, len(retail))
            self.retail[h, first : first + count] = retail[:count]
            self.feed_in[h, first : first + count] = paid[:count]
