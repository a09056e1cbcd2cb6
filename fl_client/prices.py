"""What households have been told of prices: the tariff published ahead, and the local market's."""

import numpy as np

from common.arrays import Floats
from common.market_rules import MICRO, MILLI_WH_PER_KWH
from common.messages import IntervalRequest


class PublicPrices:
    """Prices by interval, the same for all H households of a group; nan where none is known.

    retail (T + P,): the grid's price per kWh, up to P intervals ahead. signals (T, 2): marginal
    local [buy, sell] price per kWh delivered of intervals that are over. feed_in: per kWh.
    Under a community cap, ``share_kwh`` is an equal part of it per interval (None: no cap), and
    ``scarcity_price`` what a kWh beyond an allowance costs.
    """

    def __init__(self, intervals: int, published: int, feed_in: float) -> None:
        self.retail = np.full(intervals + published, np.nan)
        self.signals = np.full((intervals, 2), np.nan)
        self.feed_in = feed_in
        self.share_kwh: float | None = None
        self.scarcity_price = 0.0

    def learn(self, request: IntervalRequest) -> None:
        """Take over what a request tells."""
        self.share_kwh = None if request.share < 0 else request.share / MILLI_WH_PER_KWH
        self.scarcity_price = request.scarcity / MICRO
        room = len(self.retail) - request.t
        self.retail[request.t : request.t + len(request.retail)] = request.retail[:room]
        end = min(request.signals_from + len(request.signals), len(self.signals))
        if request.signals_from < end:
            count = end - request.signals_from
            self.signals[request.signals_from : end] = request.signals[:count]
            past = request.past_retail[:count]
            self.retail[request.signals_from : request.signals_from + len(past)] = past

    def recall(self, first: int, retail: Floats, signals: Floats) -> None:
        """Take over what was once known: ``retail`` (N,), ``signals`` (M, 2) from ``first`` on."""
        self.retail[first : first + len(retail)] = retail
        self.signals[first : first + len(signals)] = signals

    def ahead(self, t: int) -> Floats:
        """Retail prices published for ``t`` and what follows, up to the first gap."""
        published = self.retail[t:]
        unknown = np.flatnonzero(np.isnan(published))
        return published[: unknown[0]] if len(unknown) else published
